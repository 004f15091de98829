//! The settings of the galaxy ranking, from an operator's `[GALAXIES]` section.

use crate::{Error, Result};

/// Settings of the galaxy ranking; the names are those of `[GALAXIES]` in `gal_catalog_config.ini`.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// CREDZONE: credible level of the zone [0–1].
    pub credzone: f64,
    /// RELAXED_CREDZONE: the same when the zone is empty [0–1].
    pub relaxed_credzone: f64,
    /// NSIGMAS_IN_D: half-width of the zone in distance \[σ\].
    pub nsigmas_in_d: f64,
    /// RELAXED_NSIGMAS_IN_D: the same when the zone is empty \[σ\].
    pub relaxed_nsigmas_in_d: f64,
    /// SENSITIVITY: limiting apparent magnitude \[mag\].
    pub sensitivity: f64,
    /// MINL: luminosity of the faintest counterpart [erg/s].
    pub minl: f64,
    /// MAXL: luminosity of the brightest counterpart [erg/s].
    pub maxl: f64,
    /// MINDISTFACTOR: smallest detectability.
    pub mindistfactor: f64,
    /// NGALAXIES: limit on the galaxies in a list.
    pub ngalaxies: usize,
}

impl Default for Settings {
    /// The values of gwtm_cron's `gal_catalog_config.ini`, and at most 1,000 galaxies, which the GWTM accepts in 0.2 s.
    fn default() -> Self {
        Settings {
            credzone: 0.5,
            relaxed_credzone: 0.99995,
            nsigmas_in_d: 3.0,
            relaxed_nsigmas_in_d: 5.0,
            sensitivity: 22.0,
            minl: 1e40,
            maxl: 1e42,
            mindistfactor: 0.01,
            ngalaxies: 1000,
        }
    }
}

impl Settings {
    /// Reads the `[GALAXIES]` section of an INI file as Python's `configparser` does: `KEY = value` or `KEY: value`,
    /// keys in any case, comments after `;` or, at the start of a line, `#`. Missing keys keep their defaults; unknown
    /// keys of older files are ignored. Also returns CATALOG_PATH, if set.
    ///
    /// # Errors
    /// Permanent, naming the line or the key, for a missing section, a malformed line, or a value that is malformed or
    /// out of range.
    pub fn from_ini(text: &str) -> Result<(Self, Option<String>)> {
        let mut settings = Settings::default();
        let mut catalog = None;
        let mut section: Option<&str> = None;
        let mut found = false;
        for (i, line) in text.lines().enumerate() {
            let line = line.split(';').next().unwrap_or_default().trim().trim_start_matches('\u{feff}');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = Some(name);
                found |= name == "GALAXIES";
                continue;
            }
            if section != Some("GALAXIES") {
                continue;
            }
            let Some((key, value)) = line.split_once(['=', ':']) else {
                return Err(Error::permanent(format!(
                    "line {}: expected `KEY = value`, found `{}`",
                    i + 1,
                    shown(line)
                )));
            };
            let key = key.trim().to_ascii_uppercase();
            let value = value.trim();
            if key == "CATALOG_PATH" {
                // configparser keeps quotes in the path, so that the file is not found.
                catalog = Some(value.trim_matches(['"', '\'']).to_owned()).filter(|path| !path.is_empty());
            } else {
                settings.set(&key, value)?;
            }
        }
        if !found {
            return Err(Error::permanent("expected a section `[GALAXIES]`, found none"));
        }
        if settings.minl >= settings.maxl {
            return Err(Error::permanent(format!(
                "`MAXL`: expected more than `MINL` ({:e} erg/s), found {:e}",
                settings.minl, settings.maxl
            )));
        }
        Ok((settings, catalog))
    }

    /// Sets one key, when it is one of them.
    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let number = |low: f64, high: f64| {
            value.parse().ok().filter(|number: &f64| (low..=high).contains(number)).ok_or_else(|| {
                Error::permanent(format!("`{key}`: expected a number from {low} to {high:e}, found `{}`", shown(value)))
            })
        };
        match key {
            "CREDZONE" => self.credzone = number(0.0, 1.0)?,
            "RELAXED_CREDZONE" => self.relaxed_credzone = number(0.0, 1.0)?,
            "NSIGMAS_IN_D" => self.nsigmas_in_d = number(0.0, 1e6)?,
            "RELAXED_NSIGMAS_IN_D" => self.relaxed_nsigmas_in_d = number(0.0, 1e6)?,
            "SENSITIVITY" => self.sensitivity = number(0.0, 100.0)?,
            "MINL" => self.minl = number(0.0, 1e60)?,
            "MAXL" => self.maxl = number(0.0, 1e60)?,
            "MINDISTFACTOR" => self.mindistfactor = number(0.0, 1.0)?,
            // The GWTM needs 5 s for 10,000.
            "NGALAXIES" => self.ngalaxies = number(1.0, 10_000.0)? as usize,
            _ => {}
        }
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_file_of_gwtm_cron() {
        let text = "# the listeners' own\n[OTHER]\nCREDZONE = much\n\n[GALAXIES]\ncredzone = 0.9 ; of the sky\nNSIGMAS_IN_D: 2\n\
                    MINL = 1e39;erg/s\nNGALAXIES=50\nCOMPLETENESS = 0.5 ; not used\n\
                    CATALOG_PATH = data/galaxies.fits ; the catalogue\n";
        let (settings, catalog) = Settings::from_ini(text).expect("settings");
        let expected = Settings { credzone: 0.9, nsigmas_in_d: 2.0, minl: 1e39, ngalaxies: 50, ..Settings::default() };
        assert_eq!(settings, expected);
        assert_eq!(catalog.as_deref(), Some("data/galaxies.fits"));
    }

    #[test]
    fn rejects_malformed_values_and_names_the_key() {
        for (line, named) in [
            ("CREDZONE = half", "`CREDZONE`"),
            ("CREDZONE = 1.1", "`CREDZONE`"),
            ("RELAXED_NSIGMAS_IN_D = nan", "`RELAXED_NSIGMAS_IN_D`"),
            ("NGALAXIES = 0", "`NGALAXIES`"),
            ("MINL =", "`MINL`"),
            ("MINL = 1e43", "`MAXL`"),
            ("nonsense", "line 2"),
        ] {
            let error = Settings::from_ini(&format!("[GALAXIES]\n{line}\n")).expect_err(line);
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(Settings::from_ini("CREDZONE = 0.5").is_err_and(|error| error.to_string().contains("[GALAXIES]")));
    }
}
