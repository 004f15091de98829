//! The fields of GCN's former mails that are written, each with what it holds.

/// The fields of a GCN/LVC NOTICE in their order, each with what it holds.
pub const LVC_FIELDS: [(&str, &str); 27] = [
    ("TITLE", "`GCN/LVC NOTICE`"),
    ("NOTICE_DATE", "`time_created`, as `Mon 16 Mar 20 22:01:09 UT`"),
    (
        "NOTICE_TYPE",
        "`LVC Early Warning`, `LVC Preliminary`, `LVC Initial Skymap`, `LVC Update Skymap`, `LVC Retraction`; with `TEST` \
         in front for mock and test alerts",
    ),
    ("TRIGGER_NUM", "`superevent_id`"),
    (
        "TRIGGER_DATE",
        "date of the signal: truncated Julian date (MJD − 40000), day of the year, date; in a retraction that of the alert before it",
    ),
    (
        "TRIGGER_TIME",
        "time of the signal: second of the day (UTC), and time; in a retraction that of the alert before it",
    ),
    ("SEQUENCE_NUM", "position among the superevent's alerts; a coincidence counts as an alert of its own"),
    ("GROUP_TYPE", "number and name: 1 CBC, 2 Burst, 3 Test; 0 and the notice's name for others"),
    (
        "SEARCH_TYPE",
        "1 AllSky, 2 LowMass, 3 HighMass, 4 GRB, 5 Supernova, 6 MockDataChallenge, 7 AllSkyLong, 8 BBH; else 0",
    ),
    (
        "PIPELINE_TYPE",
        "1 MBTA, 2 CWB, 3 CWB2G, 4 gstlal, 5 spiir, 6 HardwareInjection, 7 X, 8 Q, 9 Omega, 10 Ringdown, 11 oLIB, 12 Fermi, \
         13 Swift, 14 SNEWS, 15 pycbc; else 0",
    ),
    ("FAR", "false-alarm rate [Hz], and one per so many days and years of 365 days"),
    ("PROB_NS", "`properties.HasNS`, or `-1` and `VALUE NOT ASSIGNED!`; no PROB_ field in a burst"),
    ("PROB_REMNANT", "`properties.HasRemnant`"),
    ("PROB_BNS", "`classification.BNS`"),
    ("PROB_NSBH", "`classification.NSBH`"),
    ("PROB_BBH", "`classification.BBH`"),
    ("PROB_MassGap", "`classification.MassGap`, else `properties.HasMassGap`"),
    ("PROB_TERRES", "`classification.Terrestrial`"),
    ("CENTRAL_FREQ", "of a burst: central frequency [Hz]"),
    ("DURATION", "of a burst: duration [s]"),
    ("TRIGGER_ID", "bits: 1 test, 4 open alert, 5 retraction, 29 coincidence with another event"),
    (
        "MISC",
        "bits: 0 Hanford, 1 Livingston, 2 Virgo, 3 GEO600, 4 KAGRA, 5 LIGO-India; 10 to 17 first letter of the id's end; 19 \
         set; 20 to 23 the id's prefix (8 S, 10 TS, 12 MS); 24 to 31 SEQUENCE_NUM",
    ),
    (
        "SKYMAP_FITS_URL",
        "the multi-order map below `OBJECTS_URL`; without it the URL that was posted, else the object's name in the store",
    ),
    ("EVENTPAGE_URL", "`urls.gracedb`; in a retraction that of the alert before it"),
    ("COMMENTS", "one or more, with what the former notice had no field for, such as chirp masses, areas and distance"),
    // Kept last: not part of the former notices.
    ("PAGE_URL", "this software's page of the alert, with `OBJECTS_URL`"),
    ("SENT_BY", "this software and its version: the mail is not GCN's"),
];

/// The fields of a GCN/LVC COUNTERPART NOTICE in their order, for IceCube's track searches.
pub const COUNTERPART_FIELDS: [(&str, &str); 12] = [
    ("TITLE", "`GCN/LVC COUNTERPART NOTICE`"),
    ("NOTICE_DATE", "`alert_datetime`"),
    ("NOTICE_TYPE", "`IceCube Neutrino Track Search`, with `Retraction` behind it, and `TEST` in front for tests"),
    ("CNTRPART_RA", "`most_probable_direction.ra`, J2000 alone: degrees, and hours"),
    ("CNTRPART_DEC", "`most_probable_direction.dec`, the same"),
    ("EVENT_TRIG_NUM", "`ref_ID`, the superevent"),
    ("OBS_DATE", "date of `observation_start`, as TRIGGER_DATE, the year with two digits"),
    ("OBS_TIME", "time of `observation_start`"),
    ("OBS_DUR", "`observation_stop` − `observation_start` [s]"),
    ("TELESCOPE", "`IceCube`"),
    ("COMMENTS", "p-values, and each coincident neutrino"),
    ("SENT_BY", "as above"),
];
