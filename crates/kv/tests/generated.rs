//! The code in `src/generated` is what `proto/` says. `HOMING_REGENERATE=1` rewrites it.

use std::fs;
use std::path::Path;

#[test]
fn the_generated_code_is_what_the_protos_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    let protos = protox::compile(["kv.proto", "replica.proto"], [root.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(fresh.path())
        .compile_fds(protos)
        .unwrap();
    for file in ["homing.kv.v1.rs", "homing.kv.replica.v1.rs"] {
        let fresh = fs::read_to_string(fresh.path().join(file)).unwrap();
        let committed = root.join("src/generated").join(file);
        if std::env::var_os("HOMING_REGENERATE").is_some() {
            fs::write(&committed, &fresh).unwrap();
        }
        let committed = fs::read_to_string(&committed).unwrap_or_default();
        assert!(
            committed == fresh,
            "{file} is old: run `HOMING_REGENERATE=1 cargo test -p homing-kv --test generated`"
        );
    }
}
