//! What looking costs when there is nothing to find.
fn main() {
    divan::main();
}
