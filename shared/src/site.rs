//! An observatory on the ground, and its limits.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Limit on a name [characters].
const MAX_NAME_CHARS: usize = 60;
/// Longest time to look ahead [h]: a week.
const MAX_HOURS: f64 = 168.0;

/// A site, and what counts there as observable: a direction above `altitude_above_deg` while the Sun is below
/// `sun_below_deg`, within `hours`. Altitudes are geometric, without refraction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Name, for people.
    pub name: String,
    /// Geodetic latitude, WGS 84 \[deg\], north positive.
    pub lat_deg: f64,
    /// Longitude \[deg\], east positive, −180 to 360.
    pub lon_deg: f64,
    /// Height above the ellipsoid, WGS 84 \[m\].
    pub height_m: f64,
    /// Altitude of the Sun's centre below which it is dark \[deg\].
    pub sun_below_deg: f64,
    /// Altitude above which a direction can be observed \[deg\].
    pub altitude_above_deg: f64,
    /// Time to look ahead \[h\].
    pub hours: f64,
}

impl Site {
    /// Default altitude of the Sun: the end of nautical twilight \[deg\].
    pub const SUN_BELOW_DEG: f64 = -12.0;
    /// Default altitude of a direction: an airmass of 2 \[deg\].
    pub const ALTITUDE_ABOVE_DEG: f64 = 30.0;
    /// Default time to look ahead \[h\].
    pub const HOURS: f64 = 24.0;

    /// Checks values that came from outside.
    ///
    /// # Errors
    /// Permanent, naming the key, what was expected and what was found.
    pub fn check(&self) -> Result<()> {
        let chars = self.name.trim().chars().count();
        if !(1..=MAX_NAME_CHARS).contains(&chars) || self.name.chars().any(char::is_control) {
            return Err(Error::permanent(format!(
                "`site.name`: expected 1 to {MAX_NAME_CHARS} characters, found `{}`",
                self.name.chars().take(2 * MAX_NAME_CHARS).collect::<String>().escape_default()
            )));
        }
        for (key, value, from, to, unit) in [
            ("lat_deg", self.lat_deg, -90.0, 90.0, "degrees"),
            ("lon_deg", self.lon_deg, -180.0, 360.0, "degrees east"),
            ("height_m", self.height_m, -500.0, 10_000.0, "metres"),
            ("sun_below_deg", self.sun_below_deg, -90.0, 90.0, "degrees"),
            ("altitude_above_deg", self.altitude_above_deg, -10.0, 90.0, "degrees"),
        ] {
            if !(from..=to).contains(&value) {
                return Err(Error::permanent(format!("`site.{key}`: expected {from} to {to} {unit}, found {value}")));
            }
        }
        if !(self.hours > 0.0 && self.hours <= MAX_HOURS) {
            return Err(Error::permanent(format!(
                "`site.hours`: expected more than 0, up to {MAX_HOURS}, found {}",
                self.hours
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_key_that_is_wrong() {
        let site = Site {
            name: "Cerro Pachón".to_owned(),
            lat_deg: -30.2446,
            lon_deg: -70.7494,
            height_m: 2663.0,
            sun_below_deg: Site::SUN_BELOW_DEG,
            altitude_above_deg: Site::ALTITUDE_ABOVE_DEG,
            hours: Site::HOURS,
        };
        assert_eq!(site.check(), Ok(()));
        for (wrong, says) in [
            (Site { name: " ".to_owned(), ..site.clone() }, "`site.name`"),
            (Site { name: "a\nb".to_owned(), ..site.clone() }, "`site.name`"),
            (Site { lat_deg: 95.0, ..site.clone() }, "`site.lat_deg`: expected -90 to 90 degrees, found 95"),
            (
                Site { lon_deg: f64::NAN, ..site.clone() },
                "`site.lon_deg`: expected -180 to 360 degrees east, found NaN",
            ),
            (Site { height_m: 1e6, ..site.clone() }, "`site.height_m`"),
            (Site { sun_below_deg: -91.0, ..site.clone() }, "`site.sun_below_deg`"),
            (Site { altitude_above_deg: 91.0, ..site.clone() }, "`site.altitude_above_deg`"),
            (Site { hours: 0.0, ..site.clone() }, "`site.hours`: expected more than 0, up to 168, found 0"),
            (Site { hours: 169.0, ..site }, "`site.hours`"),
        ] {
            let error = wrong.check().expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
