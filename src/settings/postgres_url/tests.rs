//! What people paste from their provider, and what is refused.

use super::*;

fn parse(rest: &str) -> Result<PostgresUrl, SettingsError> {
    format!("postgres://{rest}").parse()
}

fn tcp(hosts: &[&str]) -> Vec<Host> {
    hosts.iter().map(|&host| Host::Tcp(host.into())).collect()
}

#[test]
fn what_providers_give_to_paste_is_read_and_shown_again_without_the_password() {
    for (url, shown, mode) in [
        (
            "postgres://u3k:hunter2@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d8o",
            "postgres://u3k:***@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d8o",
            SslMode::Prefer,
        ),
        (
            "postgresql://ana:hunter2@ep-x-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require\
             &channel_binding=require&options=endpoint%3Dep-x-1",
            "postgresql://ana:***@ep-x-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require\
             &channel_binding=require&options=endpoint%3Dep-x-1",
            SslMode::Require,
        ),
        (
            "postgres://postgres.ref:[hunter2]@aws-0-eu-1.pooler.supabase.com:5432/postgres?\
             application_name=dash&connect_timeout=10",
            "postgres://postgres.ref:***@aws-0-eu-1.pooler.supabase.com:5432/postgres?\
             application_name=dash&connect_timeout=10",
            SslMode::Prefer,
        ),
        (
            "postgresql://ana:hun%74er2@a.rds.amazonaws.com:5432,b.rds.amazonaws.com:5433/clinic?\
             target_session_attrs=read-write&sslmode=verify-full&sslrootcert=%2Fetc%2Frds.pem&\
             tcp_user_timeout=9000&keepalives=1&keepalives_idle=30&keepalives_interval=7&\
             keepalives_count=3&load_balance_hosts=random",
            "postgresql://ana:***@a.rds.amazonaws.com:5432,b.rds.amazonaws.com:5433/clinic?\
             target_session_attrs=read-write&sslmode=verify-full&sslrootcert=%2Fetc%2Frds.pem&\
             tcp_user_timeout=9000&keepalives=1&keepalives_idle=30&keepalives_interval=7&\
             keepalives_count=3&load_balance_hosts=random",
            SslMode::VerifyFull,
        ),
        (
            "postgres://avnadmin:a#b?c/hunter2@pg.aivencloud.com:21699/defaultdb?sslmode=require",
            "postgres://avnadmin:***@pg.aivencloud.com:21699/defaultdb?sslmode=require",
            SslMode::Require,
        ),
        (
            "postgres:///clinic?host=/run/postgresql&user=ana&password=hunter2",
            "postgres:///clinic?host=/run/postgresql&user=ana&password=***",
            SslMode::Disable,
        ),
    ] {
        let read: PostgresUrl = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(read.to_string(), shown);
        assert_eq!(format!("{read:?}"), format!("{shown:?}"));
        assert_eq!(read.ssl_mode, mode, "{url}");
        assert_eq!(
            read.config.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
    }
}

#[test]
fn every_part_is_read() {
    let url = parse("an%61:p%40%2F%3A%20s@db.clinic.example:6543/clinic%20a").unwrap();
    let config = &url.config;
    assert_eq!(config.get_user(), Some("ana"));
    assert_eq!(config.get_password(), Some("p@/: s".as_bytes()));
    assert_eq!(config.get_hosts(), tcp(&["db.clinic.example"]));
    assert_eq!(config.get_ports(), [6543]);
    assert_eq!(config.get_dbname(), Some("clinic a"));
    assert_eq!(config.get_application_name(), Some("megastats"));
    assert_eq!(config.get_connect_timeout(), None);
    assert_eq!(config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(15));

    let url = parse(
        "ana@[2001:db8::1],h:7/d?application_name=x&connect_timeout=9&tcp_user_timeout=1500&\
         keepalives_idle=30&keepalives_count=4&options=-c%20geqo%3Doff&hostaddr=::1,127.0.0.1",
    )
    .unwrap();
    let config = &url.config;
    assert_eq!(config.get_hosts(), tcp(&["2001:db8::1", "h"]));
    assert_eq!(config.get_ports(), [5432, 7]);
    assert_eq!(config.get_hostaddrs().len(), 2);
    assert_eq!(config.get_application_name(), Some("x"));
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(9)));
    // As libpq has it: in milliseconds.
    let user_timeout = Duration::from_millis(1500);
    assert_eq!(config.get_tcp_user_timeout(), Some(&user_timeout));
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
    assert_eq!(config.get_keepalives_retries(), Some(4));
    assert_eq!(config.get_options(), Some("-c geqo=off"));

    let url = parse("ana@/d?host=a,b&port=1,2").unwrap();
    assert_eq!(url.config.get_hosts(), tcp(&["a", "b"]));
    assert_eq!(url.config.get_ports(), [1, 2]);
    let socket = Host::Unix("/run/postgresql".into());
    for socketed in ["%2Frun%2Fpostgresql/d", "/d?host=%2Frun%2Fpostgresql"] {
        let url = parse(socketed).unwrap();
        assert_eq!(url.config.get_hosts(), std::slice::from_ref(&socket));
        assert_eq!(url.config.get_user(), None, "the server knows");
    }
}

#[test]
fn sslmode_and_sslrootcert_mean_what_libpq_means() {
    use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    for (query, mode, roots) in [
        ("", Prefer, None),
        ("sslmode=disable", Disable, None),
        ("sslmode=allow", Prefer, None),
        ("sslmode=prefer", Prefer, None),
        ("sslmode=require", Require, None),
        ("sslmode=require&sslrootcert=a.pem", VerifyCa, Some("a.pem")),
        ("sslmode=verify-ca", VerifyCa, None),
        (
            "sslrootcert=%2Fa%20b&sslmode=verify-ca",
            VerifyCa,
            Some("/a b"),
        ),
        ("sslmode=verify-full", VerifyFull, None),
        ("sslmode=verify-full&sslrootcert=system", VerifyFull, None),
        ("sslrootcert=system", VerifyFull, None),
        ("sslmode=require&sslnegotiation=direct", Require, None),
    ] {
        let url = parse(&format!("ana@h/d?{query}")).unwrap();
        let roots = roots.map(PathBuf::from);
        assert_eq!(
            (url.ssl_mode, url.ssl_root_cert.as_ref()),
            (mode, roots.as_ref()),
            "{query}"
        );
    }
    // Nobody is in between.
    assert_eq!(parse("%2Frun/d?sslmode=require").unwrap().ssl_mode, Disable);
}

#[test]
fn what_is_not_understood_is_refused() {
    for (rest, wrong) in [
        ("", "no host name, "),
        ("ana@h", "no database, "),
        ("ana@h/", "no database, "),
        ("ana@h/?sslmode=require", "no database, "),
        ("u@h/d?port=6432", "different numbers of "),
        ("u@h1,h2/d?hostaddr=127.0.0.1", "different numbers of "),
        ("h/d", "no user, "),
        ("@h/d", "no user, "),
        (":p@h/d", "no user, "),
        ("ana@/d", "no host name, "),
        ("ana@a b/d", "no host name, "),
        ("ana@a,/d", "no host name, "),
        ("ana@*/d", "no host name, "),
        ("ana@h:0/d", "the port 0, "),
        ("ana@h/d/e", "a \"#\", "),
        ("ana@h/d#x", "a \"#\", "),
        ("a/na@h/d", "a \"#\", "),
        ("/d?host=/run&user=a@b", "a \"#\", "),
        ("ana:100%@h/d", "a control character, "),
        ("ana:%ff@h/d", "a control character, "),
        ("ana:%00@h/d", "a control character, "),
        ("ana@h/d\n", "a control character, "),
        (
            "ana@h/d?pgbouncer=true",
            "the parameter \"pgbouncer\" that is not known, allowed are application_name, ",
        ),
        (
            "ana@h/d?SSLMODE=require",
            "a parameter that is not known, allowed are application_name, ",
        ),
        ("ana@h/d?sslmode=require&sslmode=require", "sslmode twice"),
        ("ana:x@h/d?password=y", "password twice"),
        (
            "ana@h/d?target_session_attrs=read-only",
            "another target_session_attrs",
        ),
        (
            "ana@h/d?target_session_attrs=prefer-standby",
            "another target_session_attrs",
        ),
        (
            "ana@h/d?tcp_user_timeout=1s",
            "a tcp_user_timeout that is not a number",
        ),
        ("ana@h/d?sslmode", "an unknown sslmode, "),
        (
            "ana@h/d?sslrootcert=a.pem",
            "an sslrootcert without sslmode=require, ",
        ),
        (
            "ana@h/d?sslmode=prefer&sslrootcert=a.pem",
            "an sslrootcert without sslmode=require, ",
        ),
        (
            "ana@h/d?sslmode=verify-ca&sslrootcert=",
            "an empty sslrootcert, ",
        ),
        (
            "ana@h/d?sslmode=require&sslrootcert=system",
            "sslrootcert=system with another",
        ),
        (
            "ana@h/d?sslnegotiation=direct",
            "sslnegotiation=direct without sslmode=require, ",
        ),
    ] {
        let message = parse(rest).unwrap_err().to_string();
        let start = format!("given {wrong}");
        assert!(message.starts_with(&start), "{rest:?}: {message}");
    }
    for (rest, named) in [
        ("ana@h:65536/d", "port"),
        ("ana@[::1/d", "host"),
        ("ana@[::1]5432/d", "host"),
        ("ana@h/d?connect_timeout=soon", "connect_timeout"),
        ("ana@h/d?channel_binding=always", "channel_binding"),
        ("ana@h/d?hostaddr=h", "hostaddr"),
    ] {
        let message = parse(rest).unwrap_err().to_string();
        let expected = format!("invalid value for option `{named}`, allowed is postgres://");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn no_password_whose_escapes_were_forgotten_is_shown() {
    for rest in [
        "ana:hunter2",
        "ana:hunter2@",
        "ana:?hunter2@h/d",
        "ana:x/?hunter2@h/d",
        "ana:x@y/z?hunter2@h/d",
        "ana:x@y/z?hunter2=1@h/d",
        "ana:x@y/z?sslmode=hunter2@h/d",
        "ana:x@y:hunter2@z:1/d",
        "ana:x@hunter2@z:1/d",
        "ana:#hunter2@h/d",
        "ana:%hunter2@h/d",
        "ana:hunt%er2@h/d",
        "ana@h:hunter2/d",
    ] {
        let shown = match parse(rest) {
            Ok(url) => format!("{url} {url:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
