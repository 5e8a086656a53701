//! The in-memory transport keeps the contract.

use homing_transport::contract::MemoryFixture;

homing_transport::contract_suite!(MemoryFixture::new());
