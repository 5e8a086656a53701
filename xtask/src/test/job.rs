//! A step as it runs on this machine.

use std::process::{self, Stdio};

use super::steps::{Command, Work};
use super::twins;
use crate::{cargo, tidy};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Tidy,
    Twins,
    Cargo(Vec<&'static str>),
    /// As `Cargo`; but `cargo test` is content when no test matches, so it is asked to list them first.
    CargoTest(Vec<&'static str>),
    Command(&'static Command),
}

impl Job {
    pub(crate) fn new(work: &'static Work, nextest: bool) -> Self {
        match work {
            Work::Tidy => Self::Tidy,
            Work::Twins => Self::Twins,
            Work::Cargo(args) => Self::Cargo(args.to_vec()),
            Work::Tests(which) if nextest => {
                Self::Cargo([&["nextest", "run", "--no-fail-fast"], *which].concat())
            }
            // Tests in docs have a step of their own.
            Work::Tests(which) => Self::CargoTest([&["test", "--no-fail-fast", "--tests"], *which].concat()),
            Work::Command(command) => Self::Command(command),
        }
    }

    /// As one would type it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Tidy => "cargo xtask tidy".to_owned(),
            Self::Twins => "cargo test --features homing-types/twins, with each HOMING_TWIN".to_owned(),
            Self::Cargo(args) | Self::CargoTest(args) => format!("cargo {}", args.join(" ")),
            Self::Command(command) => {
                let variables = command.env.iter().map(|(name, value)| format!("{name}='{value}' "));
                variables.collect::<String>() + &command.line.join(" ")
            }
        }
    }

    pub(crate) fn run(&self) -> Result<(), String> {
        match self {
            Self::Tidy => run_tidy(),
            Self::Twins => twins::run(),
            Self::Cargo(args) => run("cargo", cargo(args)),
            Self::CargoTest(args) => {
                require_tests(cargo(&[args, &["--", "--list"][..]].concat()))?;
                run("cargo", cargo(args))
            }
            Self::Command(command) => {
                if command.is_test {
                    require_tests(process(command, &["--", "--list"]))?;
                }
                run(command.line[0], process(command, &[]))
            }
        }
    }
}

fn cargo(args: &[&str]) -> process::Command {
    let mut cargo = cargo::command(args);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    cargo
}

fn process(command: &Command, more: &[&str]) -> process::Command {
    let (program, args) = (command.line[0], [&command.line[1..], more].concat());
    let mut process = if program == "cargo" { cargo::command(&args) } else { process::Command::new(program) };
    if program != "cargo" {
        process.args(args);
    }
    process.envs(command.env.iter().copied());
    process
}

fn run_tidy() -> Result<(), String> {
    match tidy::run() {
        Ok(true) => Ok(()),
        Ok(false) => Err("a rule is broken, see above".to_owned()),
        Err(problem) => Err(format!("{problem:#}")),
    }
}

fn run(program: &str, mut process: process::Command) -> Result<(), String> {
    match process.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(problem) => Err(format!("{program} can't be started: {problem}")),
    }
}

/// Fails if the list that `cargo test -- --list` prints has no test.
fn require_tests(mut list: process::Command) -> Result<(), String> {
    // What cargo says on stderr while it builds them is shown at once.
    let output = list.stderr(Stdio::inherit()).output();
    let output = output.map_err(|problem| format!("the tests can't be listed: {problem}"))?;
    if !output.status.success() {
        return Err(format!("the tests can't be listed: {}", output.status));
    }
    if String::from_utf8_lossy(&output.stdout).lines().any(|line| line.ends_with(": test")) {
        return Ok(());
    }
    Err("no test matches".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        const LOOM: Command = Command {
            needs: &[],
            env: &[("RUSTFLAGS", "--cfg loom --cfg x"), ("A", "b")],
            line: &["cargo", "test", "--test", "loom"],
            is_test: true,
        };
        let shown = "RUSTFLAGS='--cfg loom --cfg x' A='b' cargo test --test loom";
        assert_eq!(Job::Command(&LOOM).shown(), shown);
    }

    #[test]
    fn a_command_gets_its_variables_and_fails_as_its_program_does() {
        const VARIABLE: Command = Command {
            needs: &[],
            env: &[("HOMING_SHADE", "blue green")],
            line: &["sh", "-c", r#"test "$HOMING_SHADE" = "blue green""#],
            is_test: false,
        };
        assert_eq!(Job::Command(&VARIABLE).run(), Ok(()));
        const THREE: Command = Command { env: &[], line: &["sh", "-c", "exit 3"], ..VARIABLE };
        assert_eq!(Job::Command(&THREE).run(), Err("sh ended with exit status: 3".to_owned()));
        const NONE: Command = Command { line: &["no-such-program"], ..VARIABLE };
        assert!(Job::Command(&NONE).run().unwrap_err().starts_with("no-such-program can't be started: "));
    }

    #[test]
    fn a_run_of_no_tests_fails() {
        const LISTED: Command = Command {
            needs: &[],
            env: &[],
            // Whatever follows the `--` is an argument of the script, and not looked at.
            line: &["sh", "-c", "echo 'readers::one: test'"],
            is_test: true,
        };
        assert_eq!(Job::Command(&LISTED).run(), Ok(()));
        const NONE: Command = Command { line: &["sh", "-c", "echo '0 tests, 0 benchmarks'"], ..LISTED };
        assert_eq!(Job::Command(&NONE).run(), Err("no test matches".to_owned()));
        const BROKEN: Command = Command { line: &["sh", "-c", "exit 101"], ..LISTED };
        assert_eq!(
            Job::Command(&BROKEN).run(),
            Err("the tests can't be listed: exit status: 101".to_owned())
        );
    }
}
