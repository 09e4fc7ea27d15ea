//! One look at a cloud that is asked by HTTP: what all of them do in the same way.

use super::{Endpoint, HttpError, Look, Outcome, Service};
use crate::node::seed::Seed;

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The service does not answer, or not with what was asked for.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It answers, and the answer is no good.
    #[error("{0}")]
    Answer(String),
    /// It answers, and this program will never make a node of the machine.
    #[error("{0}")]
    Refused(String),
}

impl From<String> for FetchError {
    fn from(why: String) -> Self {
        Self::Answer(why)
    }
}

/// Asks the services that can be asked now. `ask` gives the seed, and the service that won.
pub(super) fn look(
    look: &Look<'_>,
    endpoints: &[Endpoint],
    ask: &dyn Fn(Vec<Service>) -> Result<(Service, Seed), FetchError>,
) -> Outcome {
    let services = look.services(endpoints);
    if services.is_empty() {
        return Outcome::Nothing("an address, to ask the metadata service".into());
    }
    match ask(services) {
        Ok((service, mut seed)) => {
            seed.source = format!("{} ({})", seed.platform, service.place);
            Outcome::Found(Box::new(seed))
        }
        Err(FetchError::Http(error)) => Outcome::Nothing(format!("the metadata service ({error})")),
        Err(FetchError::Answer(why)) => Outcome::Failed(why),
        Err(FetchError::Refused(why)) => Outcome::Refused(why),
    }
}
