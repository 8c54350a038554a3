fn main() -> std::process::ExitCode {
    speaker::run(std::env::args_os())
}
