//! When the program does not start, and what it says then.

use std::fs;

use crate::program::{Home, fails};

#[tokio::test]
async fn a_second_process_on_the_same_store_ends_and_says_who_holds_it() {
    let home = Home::new("");
    let server = home.start().await;
    let holder = format!("in use by process {}", server.pid());
    fails(home.command(), &[holder, home.store().display().to_string()]).await;
    server.usage("o").await;
    server.kill().await;
    // A process that was killed holds nothing.
    home.start().await.stop().await;
}

#[tokio::test]
async fn nobody_else_is_let_in_unless_it_is_said() {
    let here = "127.0.0.1:0";
    for (grpc, http, told) in [
        ("0.0.0.0:0", here, "--grpc 0.0.0.0:0"),
        ("[::]:0", here, "--grpc [::]:0"),
        (here, "192.0.2.1:0", "--http 192.0.2.1:0"),
    ] {
        let home = Home::new("");
        fails(home.command_on(grpc, http), &[told.to_owned(), "--insecure".to_owned()]).await;
        assert!(!home.store().exists(), "nothing was touched");
    }
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_not_touched() {
    let home = Home::new("");
    home.start().await.stop().await;
    let database = home.store().join("quotagate.redb");
    let whole = fs::read(&database).expect("it is there");
    let cut = whole[..whole.len() / 2].to_vec();
    let zeros = vec![0; whole.len()];
    for (name, damaged) in [("cut", cut), ("zeros", zeros), ("text", b"not a database".to_vec())] {
        fs::write(&database, &damaged).expect("it is writable");
        let says = ["is damaged", "put back a copy"].map(str::to_owned);
        fails(home.command(), &says).await;
        assert!(fs::read(&database).is_ok_and(|now| now == damaged), "{name}: it was touched");
    }
    fs::write(&database, whole).expect("it is writable");
    home.start().await.stop().await;
}

#[tokio::test]
async fn a_faulty_configuration_is_refused_with_every_fault() {
    let home = Home::new("template: {daily_calls: 0}\nunknwon: {}\n");
    fails(home.command(), &["line 1", "daily_calls", "line 2", "unknwon"].map(str::to_owned)).await;
}
