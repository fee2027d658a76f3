use super::{CLAIMS, Claim, NotProven, Told, weigh};
use crate::canary::{Canary, INHERITED, REACHED, Raised};

const DENIED: &str = "Operation not permitted (os error 1)";

fn claim(layer: &str) -> &'static Claim {
    CLAIMS.iter().find(|claim| claim.layer == layer).unwrap()
}

/// What is thought of a layer whose canaries said this without it and with it.
fn thought(layer: &str, said: &[(Canary, &str, &str)]) -> Result<super::Layer, NotProven> {
    let claim = claim(layer);
    let side = |with: bool| -> Told {
        Ok(said
            .iter()
            .map(|(canary, out, inside)| {
                let said = if with { inside } else { out };
                (canary.tried().to_owned(), (*said).to_owned())
            })
            .collect())
    };
    weigh(
        claim,
        &[(Raised::Nothing, side(false)), (claim.raised, side(true))],
    )
}

#[test]
fn a_layer_that_is_stopped_on_both_sides_is_not_proven() {
    let told = thought("landlock-files", &[(Canary::Files, DENIED, DENIED)]);
    assert_eq!(told.unwrap_err().layer, "landlock-files");
    let one_of_two = thought(
        "landlock-scopes",
        &[
            (Canary::Signal, REACHED, DENIED),
            (Canary::AbstractSocket, DENIED, DENIED),
        ],
    );
    assert!(one_of_two.is_err(), "each scope is a bit of its own");
}

#[test]
fn no_new_privileges_of_whoever_started_us_cannot_be_taken_back() {
    let told = |out, inside| thought("no-new-privileges", &[(Canary::NewPrivileges, out, inside)]);
    assert!(told(REACHED, INHERITED).is_ok());
    assert!(told(INHERITED, INHERITED).is_ok());
    assert!(told(REACHED, REACHED).is_err());
    assert!(told(DENIED, DENIED).is_err());
}

#[test]
fn a_filter_is_told_apart_by_one_canary_and_passed_by_none() {
    let told = |program: (&str, &str), socket: (&str, &str), inspect: (&str, &str)| {
        let said = [
            (Canary::Program, program.0, program.1),
            (Canary::Socket, socket.0, socket.1),
            (Canary::Inspect, inspect.0, inspect.1),
        ];
        thought("seccomp-builtin", &said)
    };
    let proves = (REACHED, DENIED);
    let stopped = (DENIED, DENIED);
    let passes = (REACHED, REACHED);
    assert!(told(proves, proves, proves).is_ok());
    assert!(told(proves, stopped, stopped).is_ok());
    assert!(told(stopped, stopped, stopped).is_err());
    assert!(told(proves, proves, passes).is_err());
    assert!(told(proves, proves, (DENIED, REACHED)).is_err());
}
