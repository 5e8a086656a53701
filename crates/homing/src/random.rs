use rand::Rng;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;

/// Random bytes of the system: the one place where Homing takes randomness. All below is given it.
///
/// # Panics
/// If the system has none, which no program can go on without.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    UnwrapErr(SysRng).fill_bytes(&mut bytes);
    bytes
}
