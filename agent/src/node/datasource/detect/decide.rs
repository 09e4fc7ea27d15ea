//! From signals to a decision: which datasources are asked.
//!
//! What a person says comes first: `steppe.platform=`, then `ds=` on the command line, then the image's recipe; each
//! leaves that one source. Else the table decides: a proven cloud is asked, together with what is worth asking, and
//! volumes that anybody could have attached are not looked at. Without a proven cloud they are.

use super::{
    super::{Detection, Platform, names},
    Weight, canonical, matches,
    table::MEDIA,
};

/// The sources on removable volumes.
const ON_VOLUMES: [&str; 2] = ["nocloud", "configdrive"];

/// A platform that a person named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explicit {
    /// The platform, by its datasource's name.
    pub platform: String,
    /// Where it was said: `steppe.platform=gcp`.
    pub said: String,
}

impl Platform {
    /// What people said of the platform, the most specific first; also names that no datasource has.
    fn said(&self) -> Vec<Explicit> {
        let explicit =
            |name: &str, said: String| (!name.is_empty()).then(|| Explicit { platform: canonical(name), said });
        let mut all = Vec::new();
        all.extend(self.cmdline.value("steppe.platform").and_then(|n| explicit(n, format!("steppe.platform={n}"))));
        for key in ["ci.datasource", "ci.ds", "ds"] {
            let name = |line: &str| line.split([';', '\\']).next().unwrap_or("").to_owned();
            all.extend(self.cmdline.value(key).map(name).and_then(|n| explicit(&n, format!("{key}={n}"))));
        }
        all.extend(self.image.as_deref().and_then(|n| explicit(n, format!("platform {n:?} of the image's recipe"))));
        all
    }

    /// The platform that a person named, when there is such a datasource.
    #[must_use]
    pub fn explicit(&self) -> Option<Explicit> {
        self.said().into_iter().find(|explicit| names().any(|name| name == explicit.platform))
    }

    /// Names that no datasource has, each with where it was said and the way out.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let unknown = |said: &Explicit| !names().any(|name| name == said.platform);
        let known = || names().collect::<Vec<_>>().join(", ");
        self.said().iter().filter(|s| unknown(s)).map(|s| format!("{}: not one of {}", s.said, known())).collect()
    }

    /// How sure it is that a datasource is the right one.
    #[must_use]
    pub fn detection(&self, source: &str) -> Detection {
        let owns = |platform: &str| platform == source || MEDIA.contains(&(platform, source));
        if let Some(explicit) = self.explicit() {
            return if owns(&explicit.platform) { Detection::Named } else { Detection::Absent };
        }
        let found = matches(self);
        // A cloud for which there is no datasource leaves nothing but volumes.
        let mut proven = found.iter().filter(|m| m.weight == Weight::Proof && names().any(|name| name == m.platform));
        if proven.clone().any(|m| owns(m.platform)) {
            Detection::Named
        } else if ON_VOLUMES.contains(&source) {
            if proven.next().is_some() { Detection::Absent } else { Detection::Possible }
        } else if found.iter().any(|m| m.platform == source) {
            Detection::Possible
        } else {
            Detection::Absent
        }
    }

    /// How the platform is known, or what was looked at and named none; for people.
    #[must_use]
    pub fn describe(&self) -> String {
        if let Some(Explicit { platform, said }) = self.explicit() {
            return format!("the platform is {platform}, because of {said}");
        }
        let found = matches(self);
        if !found.is_empty() {
            let each = |m: &super::Match| {
                let none =
                    if names().any(|name| name == m.platform) { "" } else { ", for which there is no datasource" };
                format!("{} ({}{none})", m.platform, m.seen)
            };
            return format!("the platform is {}", found.iter().map(each).collect::<Vec<_>>().join(" or "));
        }
        let value = |name: &str| self.dmi.get(name).map_or(format!("no {name}"), |value| format!("{name} {value:?}"));
        let firmware = ["system-manufacturer", "system-product-name", "chassis-asset-tag"].map(value).join(", ");
        let hypervisor = self.surroundings.hypervisor.as_ref();
        let hypervisor = hypervisor.map_or("no hypervisor".into(), |name| format!("hypervisor {name}"));
        format!("no known platform: {firmware}, {hypervisor}; steppe.platform= on the command line can name one")
    }
}
