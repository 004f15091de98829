//! Reads what GraceDB, the store and the Treasure Map have of a superevent.

use shared::Result;
use shared::key::{AlertName, Key, Object};
use shared::message::Body;

use super::Case;
use crate::finding::{Finding, FindingKind};
use crate::notice::{Facts, fingerprint_of};
use crate::{Audit, Listing};

/// What GraceDB has of a superevent.
pub(super) enum Published {
    /// Its alerts' files.
    Files(Vec<gracedb::Version>),
    /// It does not have it.
    Unknown,
    /// It did not say.
    Unasked,
    /// It was created outside the period.
    OutsidePeriod,
}

impl Audit<'_> {
    /// What GraceDB has of a superevent.
    pub(super) async fn published(&mut self, case: &mut Case<'_>) -> Published {
        let id = case.id;
        if self.listing == Listing::ByPeriod && !self.listed.contains_key(id) {
            // The store or the Treasure Map names it, and GraceDB's list does not.
            match self.gracedb_limit.ask(self.gracedb.superevent(id)).await {
                Ok(Some(superevent)) if self.question.contains(superevent.created) => {}
                Ok(Some(_)) => return Published::OutsidePeriod,
                Ok(None) => return Published::Unknown,
                Err(error) => {
                    case.unasked("GraceDB", &error);
                    return Published::Unasked;
                }
            }
        }
        match self.gracedb_limit.ask(self.gracedb.alerts(id)).await {
            Ok(None) => Published::Unknown,
            Ok(Some(files)) if files.is_empty() => {
                let expected = format!("expected files such as `{id}-preliminary.json`, found none");
                case.unasked("GraceDB", &shared::Error::permanent(expected));
                Published::Unasked
            }
            Ok(Some(files)) => Published::Files(files),
            Err(error) => {
                case.unasked("GraceDB", &error);
                Published::Unasked
            }
        }
    }

    /// Reads the notices that the store has.
    pub(super) async fn read_store(&mut self, case: &mut Case<'_>) {
        match self.keys_of(case.id).await {
            Ok(keys) => case.keys = Some(keys),
            Err(error) => return case.unasked("the store", &error),
        }
        let names: Vec<AlertName> = case.keys.iter().flatten().filter_map(Key::notice_of).collect();
        // The event's own alerts first: a coincidence's is the same notice.
        let (own, external): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| !name.alert_type.external);
        for name in own.into_iter().chain(external) {
            if let Err(error) = self.read_stored(case, &name).await {
                let finding = match error.is_retryable() {
                    true => case.new_finding(FindingKind::Unasked).what("the store"),
                    false => case.new_finding(FindingKind::NotInGracedb).what("the stored notice"),
                };
                case.findings.push(finding.alert(&name).reason(Some(error.to_string())));
            }
        }
    }

    async fn read_stored(&self, case: &mut Case<'_>, name: &AlertName) -> Result<()> {
        let key = Object::Notice(name).key()?;
        let named = |error: shared::Error| error.of(format!("object `{key}`"));
        let bytes = self.deps.store.read_body(&Body::Key(key.clone())).await?;
        let fingerprint = fingerprint_of(&bytes).await.map_err(named)?;
        let facts = match case.notices.iter().position(|facts| facts.fingerprint == fingerprint) {
            Some(at) => &mut case.notices[at],
            None => {
                case.notices.push(Facts::of(bytes, fingerprint).await.map_err(named)?);
                case.notices.last_mut().ok_or_else(|| shared::Error::permanent("expected the notice"))?
            }
        };
        if let Some(expected) = facts.alerts.iter_mut().find(|alert| alert.alert_type == name.alert_type) {
            expected.name = Some(name.clone());
        }
        Ok(())
    }

    /// Reads the notices that GraceDB has; whether all of them could be read.
    pub(super) async fn read_gracedb(&mut self, case: &mut Case<'_>, files: &[gracedb::Version]) -> bool {
        let mut complete = true;
        for gracedb::Version { file, .. } in files {
            let bytes = match self.gracedb_limit.ask(self.gracedb.notice(case.id, file)).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    complete = false;
                    case.findings.push(Finding::unasked("GraceDB", Some(case.id), &error).alert(file));
                    continue;
                }
            };
            let read = async {
                let fingerprint = fingerprint_of(&bytes).await?;
                let known = case.notices.iter().position(|facts| facts.fingerprint == fingerprint);
                match known {
                    Some(at) => Ok((Some(at), None)),
                    None => Ok::<_, shared::Error>((None, Some(Facts::of(bytes, fingerprint).await?))),
                }
            };
            match read.await {
                Ok((Some(at), _)) => _ = case.notices[at].file.get_or_insert_with(|| file.clone()),
                Ok((None, facts)) => {
                    case.notices.extend(facts.map(|facts| Facts { file: Some(file.clone()), ..facts }));
                }
                Err(error) => {
                    let finding = case.new_finding(FindingKind::NotTaken).alert(file);
                    case.findings.push(finding.what("GraceDB's file cannot be read").reason(Some(error.to_string())));
                }
            }
        }
        complete
    }

    /// Reads the superevent's rows.
    pub(super) async fn read_rows(&mut self, case: &mut Case<'_>) {
        let Some(api) = &self.deps.api else { return };
        case.rows = match &self.rows {
            Some(rows) => Some(rows.get(case.id).cloned().unwrap_or_default()),
            None => match self.api_limit.ask(api.query_alerts(case.id)).await {
                Ok(rows) => Some(rows),
                Err(error) => {
                    case.unasked("the Treasure Map", &error);
                    None
                }
            },
        };
    }
}
