//! Go templates, as far as the `template` plugin's records need them: fields of the
//! question, and what the regular expression found.

/// Why a text is no template that labctl can fill.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TextError {
    /// `{{` without `}}`.
    #[error("`{{{{` isn't closed")]
    Open,
    /// Something else of Go's templates.
    #[error(
        "labctl cannot fill `{{{{{0}}}}}`; it has .Name, .Zone, .Type, .Class, .Group.NAME, index .Group \"NAME\" and index .Match NUMBER"
    )]
    Action(String),
    /// A group that the regular expression doesn't have.
    #[error("no `match` has a group `{0}`")]
    Group(String),
}

/// What a template is filled with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    /// The question's name, lower case, with the final dot.
    pub(super) name: &'a str,
    pub(super) zone: &'a str,
    pub(super) rtype: &'a str,
    pub(super) class: &'a str,
    /// What the regular expression found in the name; none when there is no `match`.
    pub(super) captures: Option<&'a regex::Captures<'a>>,
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain(String),
    Name,
    Zone,
    Type,
    Class,
    Group(String),
    Match(usize),
}

impl Text {
    /// Reads a template.
    ///
    /// # Errors
    /// See [`TextError`].
    pub(crate) fn parse(text: &str) -> Result<Self, TextError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or(TextError::Open)?;
            parts.push(Part::Plain(before.to_owned()));
            parts.push(part(action).ok_or_else(|| TextError::Action(action.to_owned()))?);
            rest = after;
        }
        parts.push(Part::Plain(rest.to_owned()));
        Ok(Self(parts))
    }

    /// Whether all that it takes from a match is in one of `expressions`.
    pub(crate) fn check(&self, expressions: &[regex::Regex]) -> Result<(), TextError> {
        let named = |name: &str| {
            let number = name.parse::<usize>().ok();
            expressions.iter().any(|expression| {
                let mut names = expression.capture_names().flatten();
                names.any(|it| it == name)
                    || number.is_some_and(|it| it < expression.captures_len())
            })
        };
        for part in &self.0 {
            match part {
                // Without `match`, group 0 is the whole name.
                Part::Match(0) => {}
                Part::Match(number) if !named(&number.to_string()) => {
                    return Err(TextError::Group(number.to_string()));
                }
                Part::Group(name) if name != "0" && !named(name) => {
                    return Err(TextError::Group(name.clone()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The text with everything in its place. A group that took no part is empty.
    pub(super) fn fill(&self, values: &Values<'_>) -> String {
        let numbered = |number: usize| match values.captures {
            Some(captures) => captures.get(number).map_or("", |found| found.as_str()),
            None if number == 0 => values.name,
            None => "",
        };
        let named = |name: &str| {
            let found = values.captures.and_then(|captures| captures.name(name));
            match (found, name.parse()) {
                (Some(found), _) => found.as_str(),
                (None, Ok(number)) => numbered(number),
                (None, Err(_)) => "",
            }
        };
        let parts = self.0.iter().map(|part| match part {
            Part::Plain(text) => text,
            Part::Name => values.name,
            Part::Zone => values.zone,
            Part::Type => values.rtype,
            Part::Class => values.class,
            Part::Group(name) => named(name),
            Part::Match(number) => numbered(*number),
        });
        parts.collect()
    }
}

fn part(action: &str) -> Option<Part> {
    let words: Vec<_> = action.split_whitespace().collect();
    match words.as_slice() {
        [".Name"] => Some(Part::Name),
        [".Zone"] => Some(Part::Zone),
        [".Type"] => Some(Part::Type),
        [".Class"] => Some(Part::Class),
        [field] => {
            let name = field.strip_prefix(".Group.")?;
            identifier(name).then(|| Part::Group(name.to_owned()))
        }
        ["index", ".Match", number] => number.parse().ok().map(Part::Match),
        ["index", ".Group", name] => {
            let quote = |text: &str, mark| -> Option<String> {
                let inner = text.strip_prefix(mark)?.strip_suffix(mark)?;
                identifier(inner).then(|| inner.to_owned())
            };
            let name = quote(name, '"').or_else(|| quote(name, '`'));
            name.map(Part::Group)
        }
        _ => None,
    }
}

fn identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
