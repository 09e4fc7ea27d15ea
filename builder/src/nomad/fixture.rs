//! What the tests of this module share: programs, archives, keys, a server.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Cursor, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use pgp::{
    composed::{
        ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
        SubpacketConfig,
    },
    crypto::hash::HashAlgorithm,
    packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData},
    ser::Serialize as _,
    types::{Duration, KeyDetails as _, Password, SigningKey, Tag, Timestamp},
};

/// A zip archive with these files.
pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A program for Linux on x86-64 that prints `text`: the smallest thing that can be asked for its version.
pub(crate) fn program(text: &str) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    // write(1, text, length); exit(0)
    let mut code = vec![0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0x48, 0x8d, 0x35, 16, 0, 0, 0, 0xba];
    code.extend(length);
    code.extend([0x0f, 0x05, 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    code.extend(text.as_bytes());
    let size = HEADERS + code.len() as u64;

    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend([0; 4]);
    elf.extend([64u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    elf.extend([1u32, 5].map(u32::to_le_bytes).concat());
    elf.extend([0, BASE, BASE, size, size, 0x1000].map(u64::to_le_bytes).concat());
    assert_eq!(elf.len() as u64, HEADERS);
    elf.extend(code);
    elf
}

/// Somebody who signs releases.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) secret: SignedSecretKey,
}

/// When the keys here were made.
pub(crate) const CREATED: u32 = 1_600_000_000;

impl Signer {
    /// A new key, with a subkey that signs if wanted.
    pub(crate) fn new(subkey: bool) -> Self {
        let created = Timestamp::from_secs(CREATED);
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(KeyType::Ed25519Legacy)
            .created_at(created)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Releases <releases@example.org>".into());
        if subkey {
            let mut subkey = SubkeyParamsBuilder::default();
            subkey.key_type(KeyType::Ed25519Legacy).created_at(created).can_sign(true);
            params.subkeys(vec![subkey.build().unwrap()]);
        }
        Self { secret: params.build().unwrap().generate(rand::thread_rng()).unwrap() }
    }

    /// The key's user id is signed anew, so that the key ends `lifetime` seconds after it was made.
    pub(crate) fn ending_after(mut self, lifetime: u32) -> Self {
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        flags.set_certify(true);
        let config = self.config(
            SignatureType::CertPositive,
            &[SubpacketData::KeyFlags(flags), SubpacketData::KeyExpirationTime(Duration::from_secs(lifetime))],
        );
        let key = &self.secret.primary_key;
        let user = &self.secret.details.users[0].id;
        let signature =
            config.sign_certification(key, key.public_key(), &Password::empty(), Tag::UserId, user).unwrap();
        self.secret.details.users[0].signatures = vec![signature];
        self
    }

    /// The key says that it is no longer to be used.
    pub(crate) fn revoked(mut self) -> Self {
        let config = self.config(SignatureType::KeyRevocation, &[]);
        let key = &self.secret.primary_key;
        let signature = config.sign_key(key, &Password::empty(), key.public_key()).unwrap();
        self.secret.details.revocation_signatures.push(signature);
        self
    }

    /// The key says that its subkey is no longer to be used.
    pub(crate) fn subkey_revoked(mut self) -> Self {
        let config = self.config(SignatureType::SubkeyRevocation, &[]);
        let key = &self.secret.primary_key;
        let subkey = self.secret.secret_subkeys[0].key.public_key();
        let signature = config.sign_subkey_binding(key, key.public_key(), &Password::empty(), subkey).unwrap();
        self.secret.secret_subkeys[0].signatures.push(signature);
        self
    }

    /// The public key, armored.
    pub(crate) fn public(&self) -> String {
        self.secret.to_public_key().to_armored_string(ArmorOptions::default()).unwrap()
    }

    pub(crate) fn fingerprint(&self) -> String {
        format!("{:X}", self.secret.primary_key.fingerprint())
    }

    /// A detached signature by the primary key, made `age` seconds after the key.
    pub(crate) fn sign(&self, data: &[u8], age: u32) -> Vec<u8> {
        sign(&self.secret.primary_key, data, age)
    }

    /// The same by the subkey.
    pub(crate) fn sign_by_subkey(&self, data: &[u8], age: u32) -> Vec<u8> {
        sign(&self.secret.secret_subkeys[0].key, data, age)
    }

    fn config(&self, typ: SignatureType, also: &[SubpacketData]) -> SignatureConfig {
        let key = &self.secret.primary_key;
        let mut config = SignatureConfig::v4(typ, key.algorithm(), HashAlgorithm::Sha512);
        let made = SubpacketData::SignatureCreationTime(Timestamp::from_secs(CREATED + 1));
        let issuer = SubpacketData::IssuerFingerprint(key.fingerprint());
        config.hashed_subpackets =
            [made, issuer].iter().chain(also).map(|data| Subpacket::regular(data.clone()).unwrap()).collect();
        config
    }
}

fn sign(key: &impl SigningKey, data: &[u8], age: u32) -> Vec<u8> {
    let made = SubpacketData::SignatureCreationTime(Timestamp::from_secs(CREATED + age));
    let issuer = SubpacketData::IssuerFingerprint(key.fingerprint());
    let hashed = [made, issuer].map(|data| Subpacket::regular(data).unwrap()).to_vec();
    // apt asks for it.
    let unhashed = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id())).unwrap()];
    let subpackets = SubpacketConfig::UserDefined { hashed, unhashed };
    let rng = rand::thread_rng();
    let signature = DetachedSignature::sign_binary_data_with_subpackets(
        rng,
        key,
        &Password::empty(),
        HashAlgorithm::Sha512,
        data,
        subpackets,
    );
    signature.unwrap().to_bytes().unwrap()
}

/// What the server answers for a path.
#[derive(Clone)]
pub(crate) enum Reply {
    Body(Vec<u8>),
    /// Announces the whole body, sends that many bytes, and hangs up.
    Cut(Vec<u8>, usize),
    Status(u16),
}

/// An HTTP server on the loopback interface, for as long as the value lives.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<HashMap<String, Reply>>,
    requests: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                for stream in listener.incoming() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = shared.clone();
                    // A client that goes away is the client's affair.
                    std::thread::spawn(move || stream.and_then(|stream| answer(&stream, &shared)).ok());
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.shared.files.lock().unwrap().insert(path.to_owned(), reply);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.shared.files.lock().unwrap().remove(path);
    }

    /// Paths that were asked for so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn answer(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let reply = shared.files.lock().unwrap().get(&path).cloned().unwrap_or(Reply::Status(404));
    shared.requests.lock().unwrap().push(path);
    let (status, body, sent) = match reply {
        Reply::Body(body) => (200, body.clone(), body.len()),
        Reply::Cut(body, sent) => (200, body, sent),
        Reply::Status(status) => (status, vec![], 0),
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..sent])
}
