//! The sample notices match the generator, upstream's schemas and their README.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use cli::simulate::Simulate;
use jsonschema::{Registry, Validator};
use science::skymap::MultiOrderMap;
use serde_json::Value;
use shared::notice::NoticeKind;
use shared::notice::icecube::TrackSearch;
use shared::notice::igwn::Notice;
use tests::program::workspace;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    simulate: Simulate,
}

fn folder() -> PathBuf {
    workspace().join("events/notices")
}

/// The rows of the README: file, arguments.
fn rows() -> Vec<(String, Simulate)> {
    let text = std::fs::read_to_string(folder().join("README.md")).expect("the README");
    text.lines()
        .filter_map(|line| {
            let mut fields = line.strip_prefix("| ")?.split(" | ");
            let (file, arguments) = (fields.next()?, fields.next()?);
            let arguments = arguments.strip_prefix("`--")?.strip_suffix('`')?;
            let words = format!("simulate --{arguments}");
            let command = Command::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{file}: {error}"));
            Some((file.to_owned(), command.simulate))
        })
        .collect()
}

fn bytes(args: &Simulate) -> Vec<u8> {
    args.bytes().expect("a notice")
}

fn args(arguments: &str) -> Simulate {
    Command::try_parse_from(format!("simulate {arguments}").split_whitespace()).expect("arguments").simulate
}

#[test]
fn samples_match_the_generator() {
    let rows = rows();
    assert!(rows.len() > 20, "{}", rows.len());
    let mut total = 0;
    for (file, args) in &rows {
        let (path, made) = (folder().join(file), bytes(args));
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&path, &made).expect("a sample");
        }
        let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(kept == made, "{file} differs from what its row in the README makes");
        assert!(kept.len() <= 300_000, "{file}: {} bytes", kept.len());
        total += kept.len();
    }
    assert!(total < 3_000_000, "{total} bytes in all");
    let mut listed: Vec<String> = rows.into_iter().map(|(file, _)| file).filter(|file| !file.contains('/')).collect();
    let mut there: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
        .filter(|file| file != "README.md")
        .collect();
    listed.sort();
    there.sort();
    assert_eq!(there, listed);
}

#[test]
fn samples_are_readable_and_their_maps_match_the_arguments() {
    for (file, args) in rows() {
        if args.catalog.is_some() {
            continue;
        }
        let bytes = bytes(&args);
        if args.icecube.is_some() {
            assert_eq!(NoticeKind::recognise(&bytes), Ok(NoticeKind::IceCube), "{file}");
            let search = TrackSearch::parse(&bytes).expect(&file);
            assert_eq!((search.superevent_id.as_str(), search.events.len()), (&*args.superevent_id, args.events));
            assert!(search.ref_id.starts_with(&format!("{}-1", args.superevent_id)), "{file}: {}", search.ref_id);
            continue;
        }
        let notice = Notice::parse(&bytes).expect(&file);
        assert_eq!(notice.superevent_id.as_str(), args.superevent_id, "{file}");
        assert_eq!(notice.combined_skymap.is_some(), file.contains("with-grb"), "{file}");
        let Some(map) = notice.skymap else {
            assert!(file.contains("null-map") || file.contains("retraction"), "{file}");
            continue;
        };
        let map = MultiOrderMap::decode(&map).expect(&file);
        assert!((map.total_prob() - 1.0).abs() < 1e-12, "{file}: {}", map.total_prob());
        let summary = map.summary();
        assert!((summary.area_90 / args.area - 1.0).abs() < 0.1, "{file}: {} deg²", summary.area_90);
        assert_eq!(map.distances().is_none(), args.burst, "{file}");
        assert_eq!(map.header().date_obs, Some(args.time), "{file}");
        if !args.burst {
            assert!((summary.distance.expect("a distance") / args.distance - 1.0).abs() < 1e-9, "{file}");
        }
        let sorted = map.cells().is_sorted_by_key(|cell| cell.uniq());
        assert_eq!(sorted, !args.shuffle, "{file}");
        assert_eq!(map.header().object.is_none(), args.shuffle, "{file}");
    }
}

#[test]
fn second_preliminary_differs_only_in_its_time() {
    let read = |n: u8| -> Value {
        let file = folder().join(format!("S090101a-{n}-preliminary.json"));
        serde_json::from_slice(&std::fs::read(file).expect("a sample")).expect("JSON")
    };
    let (mut first, second) = (read(2), read(3));
    assert_ne!(first, second);
    first["time_created"] = second["time_created"].clone();
    assert_eq!(first, second);
}

/// One of upstream's published schemas, with the schemas that it references; `None` when absent.
fn schema(name: &str) -> Option<Validator> {
    let folder = workspace().join("../shared/data/schemas");
    let read = |path: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a schema")).expect("a schema in JSON")
    };
    if !folder.join(name).is_file() {
        println!("skipped: no `{}`", folder.join(name).display());
        return None;
    }
    let core: Vec<(String, Value)> = std::fs::read_dir(folder.join("core"))
        .expect("the core schemas")
        .map(|entry| read(&entry.expect("a file").path()))
        .map(|schema| (schema["$id"].as_str().expect("an id").to_owned(), schema))
        .collect();
    let registry = core
        .iter()
        .fold(Registry::new(), |registry, (id, schema)| registry.add(id.clone(), schema).expect("a resource"))
        .prepare()
        .expect("a registry");
    let schema = read(&folder.join(name));
    Some(
        jsonschema::options()
            .with_registry(&registry)
            .should_validate_formats(true)
            .build(&schema)
            .expect("a validator"),
    )
}

#[test]
fn samples_validate_against_the_official_schemas() {
    let (Some(alerts), Some(searches)) =
        (schema("igwn.alerts.Alert.schema.json"), schema("lvk_nu_track_search.schema.json"))
    else {
        return;
    };
    let valid = |validator: &Validator, file: &str, bytes: &[u8]| {
        let notice: Value = serde_json::from_slice(bytes).expect("JSON");
        let errors: Vec<String> =
            validator.iter_errors(&notice).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{file}: {}", errors.join("\n").chars().take(2000).collect::<String>());
    };
    for (file, args) in rows() {
        if args.catalog.is_some() || args.older || args.null_p_values.is_some() {
            continue; // not a notice, or not covered by the current schemas
        }
        let validator = if args.icecube.is_some() { &searches } else { &alerts };
        valid(validator, &file, &bytes(&args));
    }
    // The validator rejects a spelling of older files.
    let older: Value = serde_json::from_slice(&bytes(&args("--older --no-map --type earlywarning"))).expect("JSON");
    assert!(!alerts.is_valid(&older));
}

#[test]
fn output_depends_only_on_arguments_and_seed() {
    let some = "--ra 33 --dec -8 --area 77 --shape banana --start-order 1";
    assert_eq!(bytes(&args(some)), bytes(&args(some)));
    assert_ne!(bytes(&args(some)), bytes(&args(&format!("{some} --seed 2"))));
}

#[test]
fn finest_order_and_gzip_match_the_arguments() {
    let notice = bytes(&args("--max-order 5 --start-order 1 --area 3 --gzip"));
    let notice: Value = serde_json::from_slice(&notice).expect("JSON");
    let map = STANDARD.decode(notice["event"]["skymap"].as_str().expect("a map")).expect("base64");
    assert_eq!(map[..2], [0x1f, 0x8b]);
    assert_eq!(MultiOrderMap::decode(&map).expect("a map").order(), 5);
}

#[test]
fn rejects_arguments_out_of_range_and_names_them() {
    for (arguments, named) in [
        ("--superevent-id ../../x", "--superevent-id"),
        ("--dec 91", "--dec"),
        ("--area 41253", "--area"),
        ("--max-order 12", "--max-order"),
        ("--start-order 6", "--start-order"),
        ("--icecube nested --events 100000", "--events"),
        ("--catalog 999999999", "--catalog"),
    ] {
        let error = args(arguments).bytes().expect_err(arguments);
        assert!(!error.is_retryable() && error.to_string().contains(named), "{error}");
    }
}
