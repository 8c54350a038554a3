//! The seeds of a target, for the tests that replay them.

/// Runs a target on each of its seeds; a failure names the file.
pub fn seeds(target: &str, run: fn(&[u8])) {
    let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for file in std::fs::read_dir(&folder).expect("a folder of seeds") {
        let path = file.expect("a seed").path();
        let data = std::fs::read(&path).expect("a seed that can be read");
        assert!(std::panic::catch_unwind(|| run(&data)).is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "{folder} is empty");
}
