//! That the members of the tests' own etcd do what they are told.

use std::net::TcpStream;

use crate::etcd::{Etcd, Which};

#[test]
fn members_start_die_and_come_back() {
    let Some(mut etcd) = Etcd::start(3, Which::Any) else { return };
    let leader = etcd.leader().expect("three members have a leader");
    etcd.kill9(leader);
    assert!(TcpStream::connect(&etcd.endpoints()[leader]).is_err(), "it is gone");
    etcd.restart(leader);
    etcd.pause(leader);
    etcd.resume(leader);
    etcd.is_served_by(leader);
    assert!(etcd.data_dirs().iter().all(|dir| dir.is_dir()));
}

#[test]
fn each_version_that_is_installed_serves() {
    for which in [Which::Current, Which::Packaged] {
        let Some(etcd) = Etcd::start(1, which) else { continue };
        assert_eq!(etcd.leader(), Some(0), "{which:?}");
    }
}
