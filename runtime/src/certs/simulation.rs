//! Replicas, Secret and registrations in a world where everything goes wrong, with a clock of its own.
//!
//! ```text
//!  World { Secret, registrations, clock } ◀── Keeper of each replica, the real one, over a client that answers from the World
//!     ▲ days pass, the Secret is deleted or garbled, caBundles are overwritten, replicas restart or lag
//! ```
//! The law: as long as nobody else has touched the caBundles, the apiserver accepts what every replica serves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Method, Request, Response};
use jiff::{Timestamp, ToSpan};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use kube::core::Status;
use proptest::prelude::*;

use super::registrations::tests::{SERVICE, configuration, patched};
use super::stored::{Leaf, bundle};
use super::*;
use crate::tls::TlsOptions;

const NAME: &str = "metallb-webhook-configuration";

/// What the apiserver stores.
#[derive(Default)]
struct World {
    secret: Option<Secret>,
    registration: Option<ValidatingWebhookConfiguration>,
    version: u64,
    secret_writes: u32,
    bundle_writes: u32,
    /// Somebody else writes between the read and the write of the next this many writes of the Secret.
    meddling: u32,
    managers: Vec<String>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<World>>);

impl Server {
    fn with_registration() -> Self {
        let server = Self::default();
        server.world(|world| world.registration = Some(configuration(&[None, None])));
        server
    }

    fn world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (method, uri) = (request.method().clone(), request.uri().clone());
                let body = request.into_body().collect_bytes().await?;
                // The pause lets concurrent callers meet between reading and writing.
                tokio::task::yield_now().await;
                let (code, answer) = server.world(|world| world.answer(&method, &uri, &body));
                Ok::<_, kube::Error>(Response::builder().status(code).body(Body::from(answer)).unwrap())
            }
        });
        Client::new(service, "default")
    }
}

fn refuse(code: u16, reason: &str) -> (u16, Vec<u8>) {
    (code, serde_json::to_vec(&Status::failure("refused", reason).with_code(code)).unwrap())
}

impl World {
    fn answer(&mut self, method: &Method, uri: &http::Uri, body: &[u8]) -> (u16, Vec<u8>) {
        if *method != Method::GET {
            self.managers.push(uri.query().unwrap_or_default().to_owned());
        }
        if uri.path().contains("/secrets") {
            self.secret(method, body)
        } else if uri.path().ends_with(NAME) {
            self.registration(method, body)
        } else {
            refuse(404, "NotFound")
        }
    }

    fn secret(&mut self, method: &Method, body: &[u8]) -> (u16, Vec<u8>) {
        if *method != Method::GET && self.meddling > 0 {
            self.meddling -= 1;
            self.version += 1;
            let version = self.version.to_string();
            self.secret.get_or_insert_default().metadata.resource_version = Some(version);
        }
        let version = |secret: &Secret| secret.metadata.resource_version.clone();
        match (method, &self.secret) {
            (&Method::GET, None) => return refuse(404, "NotFound"),
            (&Method::PUT, None) => return refuse(404, "NotFound"),
            (&Method::POST, Some(_)) => return refuse(409, "AlreadyExists"),
            (&Method::POST | &Method::PUT, current) => {
                let mut sent: Secret = serde_json::from_slice(body).unwrap();
                if current.as_ref().map(version) != (method == Method::PUT).then(|| version(&sent)) {
                    return refuse(409, "Conflict");
                }
                self.version += 1;
                self.secret_writes += 1;
                sent.metadata.resource_version = Some(self.version.to_string());
                self.secret = Some(sent);
            }
            _ => {}
        }
        (200, serde_json::to_vec(&self.secret).unwrap())
    }

    fn registration(&mut self, method: &Method, body: &[u8]) -> (u16, Vec<u8>) {
        let Some(current) = &self.registration else { return refuse(404, "NotFound") };
        if method == Method::PATCH {
            match patched(current, &serde_json::from_slice(body).unwrap()) {
                Ok(next) => self.registration = Some(next),
                Err(_) => return refuse(422, "Invalid"),
            }
            self.bundle_writes += 1;
        }
        (200, serde_json::to_vec(&self.registration).unwrap())
    }

    fn overwrite_bundles(&mut self, bundle: &[u8]) {
        for webhook in self.registration.iter_mut().flat_map(|it| it.webhooks.iter_mut().flatten()) {
            webhook.client_config.ca_bundle = Some(ByteString(bundle.to_vec()));
        }
    }

    fn put(&mut self, key: &str, text: &[u8]) {
        if let Some(data) = self.secret.as_mut().and_then(|secret| secret.data.as_mut()) {
            data.insert(key.to_owned(), ByteString(text.to_vec()));
        }
        self.version += 1;
        let version = self.version.to_string();
        if let Some(secret) = &mut self.secret {
            secret.metadata.resource_version = Some(version);
        }
    }
}

fn request() -> CertificateRequest {
    CertificateRequest {
        namespace: String::from("metallb-system"),
        secret_name: String::from("metallb-webhook-cert"),
        dns_names: vec![format!("{SERVICE}.metallb-system.svc")],
        field_manager: String::from("metallb-webhook"),
        webhook_configurations: vec![String::from(NAME), String::from("absent")],
    }
}

fn replica(server: &Server) -> Keeper {
    replica_for(server, request())
}

fn replica_for(server: &Server, request: CertificateRequest) -> Keeper {
    let made = self_signed(Timestamp::now(), &[String::from("localhost")]).unwrap();
    let (cert, key) = (made.cert_pem.as_bytes(), made.key_pem.as_bytes());
    let tls = ReloadingConfig::new(TlsOptions::default(), false, cert, key).unwrap();
    Keeper::new(server.client(), request, tls)
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A check that must end well.
async fn check(keeper: &mut Keeper, now: Timestamp) -> Checked {
    let ahead = u64::try_from(now.as_second() - 1_400_000_000).unwrap();
    keeper.check(now, Instant::now() + Duration::from_secs(ahead)).await.unwrap()
}

/// What the apiserver would say to the certificate that this replica serves.
fn accepted(server: &Server, keeper: &Keeper, now: Timestamp) -> Result<(), String> {
    let registration = server.world(|world| world.registration.clone()).unwrap();
    let leaf = served(keeper).ok_or("nothing is served")?;
    Registration::new(NAME, registration).accepts(&leaf.chain, now)
}

fn served(keeper: &Keeper) -> Option<&Leaf> {
    keeper.held.as_ref().and_then(|held| held.leaf.as_ref())
}

fn stored(server: &Server) -> Stored {
    server.world(|world| world.secret.as_ref().map(Stored::read).unwrap_or_default())
}

fn writes(server: &Server) -> (u32, u32) {
    server.world(|world| (world.secret_writes, world.bundle_writes))
}

#[tokio::test]
async fn a_first_boot_makes_stores_serves_and_registers_once_and_then_writes_nothing() {
    let server = Server::with_registration();
    let mut one = replica(&server);
    assert_eq!(check(&mut one, start()).await.trust, Trust::Given);
    assert_eq!(accepted(&server, &one, start()), Ok(()));
    let once = writes(&server);
    assert_eq!(once, (1, 1));
    for minute in 0..100 {
        check(&mut one, start() + minute.minutes()).await;
    }
    assert_eq!(writes(&server), once);
    let managers = server.world(|world| world.managers.clone());
    assert!(managers.iter().all(|query| query.contains("fieldManager=metallb-webhook")), "{managers:?}");
}

#[tokio::test]
async fn replicas_that_start_together_agree_on_one_authority() {
    let empty: Secret = serde_json::from_str(r#"{"metadata": {"name": "x", "resourceVersion": "7"}}"#).unwrap();
    for existing in [None, Some(empty)] {
        let server = Server::with_registration();
        server.world(|world| world.secret = existing);
        let mut all: Vec<Keeper> = (0..3).map(|_| replica(&server)).collect();
        futures::future::join_all(all.iter_mut().map(|one| check(one, start()))).await;
        assert_eq!(stored(&server).authorities.len(), 1);
        for one in &all {
            assert_eq!(accepted(&server, one, start()), Ok(()));
        }
        assert_eq!(server.world(|world| world.secret_writes), 1, "the others lost and read again");
    }
}

#[tokio::test]
async fn a_write_that_meets_another_writer_is_tried_again_on_what_is_stored_now() {
    let server = Server::with_registration();
    server.world(|world| world.meddling = 3);
    let mut one = replica(&server);
    assert_eq!(check(&mut one, start()).await.trust, Trust::Given);
    assert_eq!(server.world(|world| world.secret_writes), 1);
}

#[tokio::test]
async fn a_registration_that_comes_later_is_waited_for_and_trusts_at_once() {
    let server = Server::default();
    let mut one = replica(&server);
    let Trust::Missing(text) = check(&mut one, start()).await.trust else { panic!("nobody can call yet") };
    assert_eq!(
        text,
        format!("ValidatingWebhookConfiguration {NAME} does not exist; apply manifests/metallb-operator.yaml")
    );
    server.world(|world| world.registration = Some(configuration(&[None])));
    assert_eq!(check(&mut one, start()).await.trust, Trust::Given);
    assert_eq!(accepted(&server, &one, start()), Ok(()));
}

#[tokio::test]
async fn a_server_certificate_is_renewed_by_the_same_authority_ninety_days_before_its_end() {
    let server = Server::with_registration();
    let mut one = replica(&server);
    check(&mut one, start()).await;
    let before = stored(&server);
    check(&mut one, start() + (274 * 24).hours()).await;
    assert_eq!(stored(&server), before);
    let day = start() + (276 * 24).hours();
    let again = check(&mut one, day).await.again;
    assert_eq!(again, PERIOD, "the authority has long been trusted");
    let after = stored(&server);
    assert!(after.signer == before.signer && after.authorities == before.authorities && after.leaf != before.leaf);
    assert_eq!(served(&one), after.leaf.as_ref());
}

#[tokio::test]
async fn an_authority_is_replaced_step_by_step_and_no_call_fails_meanwhile() {
    let server = Server::with_registration();
    let (mut one, mut late) = (replica(&server), replica(&server));
    // Authorities last ten years, server certificates one.
    let day = |left: i64| start() + ((3650 - left) * 24).hours();
    for left in [3650, 3374, 3098, 2822, 2546, 2270, 1994, 1718, 1442, 1166, 890, 614, 338, 181] {
        check(&mut one, day(left)).await;
        check(&mut late, day(left)).await;
    }
    let old = stored(&server);
    assert_eq!(old.authorities.len(), 1);

    check(&mut one, day(179)).await;
    let first = stored(&server);
    assert_eq!((first.authorities.len(), first.leaf == old.leaf), (2, true), "a successor, and nothing else changes");
    assert_eq!(first.signer.as_ref().map(|signer| &signer.authority), first.authorities.first());
    assert_ne!(first.signer, old.signer);
    check(&mut one, day(91)).await;
    assert_eq!(stored(&server), first);
    check(&mut one, day(89)).await;
    let second = stored(&server);
    assert_ne!(second.leaf, old.leaf);
    assert_eq!(second.authorities.len(), 2, "the lagging replica still serves a leaf of the old one");
    for left in [89, 88] {
        assert_eq!((accepted(&server, &one, day(left)), accepted(&server, &late, day(left))), (Ok(()), Ok(())));
    }
    check(&mut late, day(88)).await;
    assert_ne!(served(&late), second.leaf.as_ref(), "it has seen the new authority trusted only now");
    check(&mut late, day(88) + 61.seconds()).await;
    assert_eq!(served(&late), second.leaf.as_ref());
    check(&mut one, day(-1)).await;
    assert_eq!(stored(&server).authorities.len(), 1, "the old one has expired and is gone");
    assert_eq!((accepted(&server, &one, day(-1)), accepted(&server, &late, day(-1))), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_leaf_of_a_new_authority_waits_until_every_apiserver_had_a_minute_to_learn() {
    let server = Server::with_registration();
    let mut one = replica(&server);
    check(&mut one, start()).await;
    let old = stored(&server);
    // Nobody was there when the successor was due.
    let late = start() + ((3650 - 60) * 24).hours();
    server.world(|world| world.overwrite_bundles(b""));
    let mut one = replica(&server);
    check(&mut one, start() + (200 * 24).hours()).await;
    let mut at = late - (300 * 24).hours();
    check(&mut one, at).await;
    let leaf = stored(&server).leaf;
    at = late - (30 * 24).hours();
    let mut again = check(&mut one, at).await.again;
    assert_eq!((stored(&server).leaf == leaf, stored(&server).authorities.len()), (true, 2));
    assert!(again <= Duration::from_secs(60), "{again:?}");
    // Somebody takes the trust away: the minute begins anew.
    server.world(|world| world.overwrite_bundles(b""));
    again = check(&mut one, at + 59.seconds()).await.again;
    check(&mut one, at + 61.seconds()).await;
    assert_eq!((stored(&server).leaf == leaf, again), (true, Duration::from_secs(60)));
    check(&mut one, at + 120.seconds()).await;
    assert!(stored(&server).leaf != leaf && stored(&server).leaf != old.leaf);
    assert_eq!(accepted(&server, &one, at + 120.seconds()), Ok(()));
}

#[tokio::test]
async fn a_deleted_secret_comes_back_as_it_was_while_a_replica_remembers_it() {
    let server = Server::with_registration();
    let (mut one, mut two) = (replica(&server), replica(&server));
    check(&mut one, start()).await;
    check(&mut two, start()).await;
    let (before, bundles) = (stored(&server), writes(&server).1);
    server.world(|world| world.secret = None);
    let both = futures::join!(check(&mut one, start()), check(&mut two, start()));
    assert_eq!((both.0.trust, both.1.trust), (Trust::Given, Trust::Given));
    assert_eq!((stored(&server), writes(&server)), (before, (2, bundles)));
}

#[tokio::test]
async fn a_secret_that_nobody_remembers_gets_a_new_authority_beside_the_registered_one() {
    let server = Server::with_registration();
    let mut silent = replica(&server);
    check(&mut silent, start()).await;
    server.world(|world| world.secret = None);
    let mut fresh = replica(&server);
    check(&mut fresh, start()).await;
    assert_eq!(stored(&server).authorities.len(), 2);
    assert_eq!((accepted(&server, &fresh, start()), accepted(&server, &silent, start())), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_replica_that_saw_an_older_secret_takes_no_authority_away() {
    let server = Server::with_registration();
    let mut one = replica(&server);
    check(&mut one, start()).await;
    let old = stored(&server);
    server.world(|world| world.put("ca.key", b"gone"));
    check(&mut one, start()).await;
    assert_eq!(stored(&server).authorities.len(), 2);
    let registrations = registrations::read(&server.client(), &request().webhook_configurations).await.unwrap();
    assert!(registrations[0].patch(&old.authorities, start()).is_none());
}

#[tokio::test]
async fn garbage_in_the_secret_is_put_right() {
    let cases: [(&str, &[u8]); 6] = [
        ("tls.crt", b"garbage"),
        ("tls.key", b""),
        ("ca.crt", b"\xff\xfe"),
        ("ca.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("ca.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("ca.crt", b""),
    ];
    for (key, text) in cases {
        for remembers in [true, false] {
            let server = Server::with_registration();
            let mut one = replica(&server);
            check(&mut one, start()).await;
            server.world(|world| world.put(key, text));
            if !remembers {
                one = replica(&server);
            }
            for second in [0, 61, 62] {
                let now = start() + second.seconds();
                assert_eq!(check(&mut one, now).await.trust, Trust::Given, "{key} {remembers}");
                assert_eq!(accepted(&server, &one, now), Ok(()), "{key} {remembers}");
            }
            let all = stored(&server);
            assert!(all.signer.is_some() && all.leaf.is_some() && all.is_tidy);
            let once = writes(&server);
            check(&mut one, start() + 63.seconds()).await;
            assert_eq!(writes(&server), once, "{key} {remembers}");
        }
    }
}

#[tokio::test]
async fn expired_and_not_yet_valid_certificates_are_replaced_at_once() {
    for days in [400, 4000, -1, -3000] {
        let server = Server::with_registration();
        check(&mut replica(&server), start()).await;
        let now = start() + (days * 24).hours();
        let mut other = replica(&server);
        assert_eq!(check(&mut other, now).await.trust, Trust::Given, "{days} days later");
        assert_eq!(accepted(&server, &other, now), Ok(()), "{days} days later");
    }
}

/// As MetalLB's own rotation leaves it, or somebody's script: an authority that works and is called otherwise.
#[tokio::test]
async fn an_authority_of_another_name_is_trusted_on_and_not_signed_with() {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let server = Server::with_registration();
    check(&mut replica(&server), start()).await;
    server.world(|world| {
        world.put("ca.crt", certificate.as_bytes());
        world.put("ca.key", key.serialize_pem().as_bytes());
    });
    let mut one = replica(&server);
    assert_eq!(check(&mut one, start()).await.trust, Trust::Given);
    let authorities = bundle(&stored(&server).authorities);
    assert!(authorities.contains(&certificate.replace("\r\n", "\n")), "it may be what another replica's leaf is of");
    assert_eq!(accepted(&server, &one, start()), Ok(()));
}

#[tokio::test]
async fn clocks_that_differ_by_less_than_an_hour_agree() {
    let server = Server::with_registration();
    let (mut one, mut behind) = (replica(&server), replica(&server));
    check(&mut one, start()).await;
    let once = writes(&server);
    assert_eq!(check(&mut behind, start() - 59.minutes()).await.trust, Trust::Given);
    assert_eq!(writes(&server), once);
}

#[tokio::test]
async fn clocks_that_differ_by_years_do_not_make_a_storm_of_writes() {
    let server = Server::with_registration();
    let (mut one, mut ahead) = (replica(&server), replica(&server));
    let clock = Instant::now();
    for second in 0..60_i64 {
        let (passed, at) = (second.seconds(), clock + Duration::from_secs(second.unsigned_abs()));
        let _ = one.check(start() + passed, at).await;
        let _ = ahead.check(start() + passed + (3 * 8760).hours(), at).await;
    }
    assert!(writes(&server).0 <= 2 * (8 + 6), "{:?}", writes(&server));
}

#[tokio::test]
async fn a_renamed_service_gets_a_certificate_at_once() {
    let server = Server::with_registration();
    check(&mut replica(&server), start()).await;
    let before = stored(&server);
    let mut names = request();
    names.dns_names.push(String::from("other.metallb-system.svc"));
    let mut other = replica_for(&server, names);
    assert_eq!(check(&mut other, start()).await.trust, Trust::Given);
    let after = stored(&server);
    assert!(after.leaf != before.leaf && after.authorities == before.authorities);

    let mut wrong = request();
    wrong.dns_names = vec![String::from("other.metallb-system.svc")];
    let server = Server::with_registration();
    let Trust::Missing(text) = check(&mut replica_for(&server, wrong), start()).await.trust else { panic!("trusted") };
    assert!(text.contains("calls metallb-webhook-service.metallb-system.svc and would not trust"), "{text}");
}

#[tokio::test]
async fn an_overwritten_bundle_is_put_right_each_time_and_against_an_adversary_at_a_pace() {
    let server = Server::with_registration();
    let mut one = replica(&server);
    let clock = Instant::now();
    one.check(start(), clock).await.unwrap();
    for second in 1..=100 {
        server.world(|world| world.overwrite_bundles(b"mine"));
        let at = clock + Duration::from_secs(second);
        assert_eq!(one.check(start(), at).await.unwrap().trust, Trust::Given);
        assert_eq!(accepted(&server, &one, start()), Ok(()), "put right in the same check");
    }
    let before = writes(&server).1;
    let at = clock + Duration::from_secs(101);
    for _ in 0..1000 {
        server.world(|world| world.overwrite_bundles(b"mine"));
        one.check(start(), at).await.unwrap();
    }
    assert!(writes(&server).1 - before <= 5, "{}", writes(&server).1 - before);
    server.world(|world| world.overwrite_bundles(b"mine"));
    let checked = one.check(start(), at).await.unwrap();
    assert!(matches!(checked.trust, Trust::Missing(_)) && checked.again <= Duration::from_secs(1));
    assert_eq!(one.check(start(), at + checked.again).await.unwrap().trust, Trust::Given);
}

#[tokio::test]
async fn a_secret_restored_from_a_backup_is_taken_over_without_a_failing_call() {
    let server = Server::with_registration();
    let (mut one, mut two) = (replica(&server), replica(&server));
    check(&mut one, start()).await;
    let backup = server.world(|world| world.secret.clone());
    server.world(|world| world.secret = None);
    one = replica(&server);
    check(&mut one, start()).await;
    check(&mut two, start()).await;
    server.world(|world| {
        world.secret = backup.clone();
        world.put("note", b"");
    });
    for second in [0, 30, 61] {
        let now = start() + second.seconds();
        for keeper in [&mut one, &mut two] {
            check(keeper, now).await;
        }
        assert_eq!((accepted(&server, &one, now), accepted(&server, &two, now)), (Ok(()), Ok(())));
    }
    assert_eq!(served(&one), stored(&server).leaf.as_ref());
}

#[tokio::test]
async fn a_server_gets_the_certificate_and_is_not_told_twice() {
    let server = Server::with_registration();
    let mut one = replica(&server);
    let before = one.tls.rustls().get_inner();
    check(&mut one, start()).await;
    let after = one.tls.rustls().get_inner();
    assert!(!Arc::ptr_eq(&before, &after));
    check(&mut one, start()).await;
    assert!(Arc::ptr_eq(&after, &one.tls.rustls().get_inner()), "the same certificate is not loaded again");
}

#[derive(Clone, Debug)]
enum Step {
    Check(usize),
    Both,
    Days(i64),
    Seconds(i64),
    DeleteSecret,
    Garble(&'static str),
    Overwrite,
    DeleteRegistration,
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..2).prop_map(Step::Check),
        3 => Just(Step::Both),
        3 => (0i64..100).prop_map(Step::Days),
        3 => (0i64..40).prop_map(Step::Seconds),
        1 => Just(Step::DeleteSecret),
        1 => prop_oneof![Just("ca.crt"), Just("ca.key"), Just("tls.crt"), Just("tls.key")].prop_map(Step::Garble),
        1 => Just(Step::Overwrite),
        1 => Just(Step::DeleteRegistration),
        1 => (0usize..2).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_happens_calls_succeed_unless_somebody_else_touched_the_bundles(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let server = Server::with_registration();
            let (mut now, mut clock) = (start(), Instant::now());
            let mut all = [replica(&server), replica(&server)];
            for step in steps {
                // Enough for the paces: they are not what is looked at here.
                clock += Duration::from_secs(120);
                let mut touched = false;
                match step {
                    Step::Check(number) => drop(all[number].check(now, clock).await.unwrap()),
                    Step::Both => {
                        let [one, two] = &mut all;
                        let (one, two) = futures::join!(one.check(now, clock), two.check(now, clock));
                        one.unwrap();
                        two.unwrap();
                    }
                    // While days pass, replicas look every minute; here at least every thirty days.
                    Step::Days(days) => {
                        for _ in 0..=days / 30 {
                            now += (days.min(30) * 24).hours();
                            for keeper in &mut all {
                                if keeper.held.is_some() {
                                    keeper.check(now, clock).await.unwrap();
                                }
                            }
                            clock += Duration::from_secs(120);
                        }
                    }
                    Step::Seconds(seconds) => now += seconds.seconds(),
                    Step::DeleteSecret => server.world(|world| world.secret = None),
                    Step::Garble(key) => server.world(|world| world.put(key, b"garbage")),
                    Step::Overwrite => {
                        server.world(|world| world.overwrite_bundles(b"mine"));
                        touched = true;
                    }
                    Step::DeleteRegistration => {
                        server.world(|world| world.registration = Some(configuration(&[None])));
                        touched = true;
                    }
                    Step::Restart(number) => all[number] = replica(&server),
                }
                if touched {
                    let [one, two] = &mut all;
                    one.check(now, clock).await.unwrap();
                    two.check(now, clock).await.unwrap();
                }
                for keeper in all.iter().filter(|keeper| keeper.held.is_some()) {
                    prop_assert_eq!(accepted(&server, keeper, now), Ok(()));
                }
                prop_assert!(stored(&server).authorities.len() <= 16);
            }
            Ok(())
        })?;
    }
}
