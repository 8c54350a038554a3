fn main() -> std::process::ExitCode {
    controller::run(std::env::args_os())
}
