//! Server blocks of a Corefile as they stand there, imports done: keys, plugins,
//! their options.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Fault;
use super::files;
use super::lexer::{Environment, Token, tokens};
use super::pillars::Pillars;

/// Imports of one Corefile, as many as Caddy has.
const MAX_IMPORTS: u32 = 1000;
/// Words of one Corefile with all it imports: far more than any has, and little enough.
const MAX_WORDS: usize = 1 << 20;

/// `KEYS… { DIRECTIVES }`
#[derive(Debug)]
pub(super) struct Block {
    pub(super) keys: Vec<Token>,
    pub(super) directives: Vec<Directive>,
}

/// `NAME ARGUMENTS… { OPTIONS }`
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) head: Line,
    pub(super) options: Vec<Line>,
}

/// A word, and those behind it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: Token,
    pub(super) args: Vec<Token>,
}

impl Directive {
    /// Whether one of its words has a placeholder that could not be filled, so that there
    /// is no more to be said of it.
    pub(super) fn unfilled(&self) -> bool {
        let mut lines = self.options.iter().chain([&self.head]);
        lines.any(|line| line.name.unfilled || line.args.iter().any(|arg| arg.unfilled))
    }
}

/// All that was read, of all files.
pub(super) struct Tree {
    pub(super) blocks: Vec<Block>,
    /// Text of the imported files, in order.
    pub(super) imported: Vec<String>,
    /// What is wrong with words.
    pub(super) faults: Vec<Fault>,
}

/// Reads the blocks of `text`.
///
/// # Errors
/// Whatever keeps the blocks from being told apart; the first such fault.
pub(super) fn read(
    file: &Path,
    text: &str,
    pillars: &Pillars,
    environment: Environment<'_>,
) -> Result<Tree, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut words = tokens(&Arc::from(file), text, pillars, environment, &mut faults);
    words.reverse();
    let mut parser = Parser {
        pillars,
        environment,
        pending: words,
        last: None,
        snippets: HashMap::new(),
        imports: 0,
        imported: Vec::new(),
        faults,
    };
    match parser.blocks() {
        Ok(blocks) => Ok(Tree {
            blocks,
            imported: parser.imported,
            faults: parser.faults,
        }),
        Err(faults) => Err([parser.faults, faults].concat()),
    }
}

struct Parser<'a> {
    pillars: &'a Pillars,
    environment: Environment<'a>,
    /// What is still to be read, last word first.
    pending: Vec<Token>,
    last: Option<Token>,
    snippets: HashMap<String, Vec<Token>>,
    imports: u32,
    imported: Vec<String>,
    /// Of words; the blocks can be told apart all the same.
    faults: Vec<Fault>,
}

impl Parser<'_> {
    fn blocks(&mut self) -> Result<Vec<Block>, Vec<Fault>> {
        let mut blocks = Vec::new();
        while self.peek()?.is_some() {
            blocks.extend(self.block()?);
        }
        Ok(blocks)
    }

    /// The next word, which is no import.
    fn peek(&mut self) -> Result<Option<&Token>, Vec<Fault>> {
        while let Some(next) = self.pending.last() {
            if !(next.starts_line && next.is("import")) {
                break;
            }
            self.import().map_err(|fault| vec![fault])?;
        }
        Ok(self.pending.last())
    }

    fn next(&mut self) -> Result<Option<Token>, Vec<Fault>> {
        self.peek()?;
        let next = self.pending.pop();
        if next.is_some() {
            self.last.clone_from(&next);
        }
        Ok(next)
    }

    /// The next word, if it is on the line of the last one.
    fn next_on_line(&mut self) -> Result<Option<Token>, Vec<Fault>> {
        match self.peek()? {
            Some(next) if !next.starts_line => self.next(),
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<Block>, Vec<Fault>> {
        let (keys, braced) = self.keys()?;
        let Some(first) = keys.first() else {
            return Err(self.fault("a server block needs a zone before its `{`"));
        };
        if let [only] = keys.as_slice()
            && let Some(name) = only
                .text
                .strip_prefix('(')
                .and_then(|t| t.strip_suffix(')'))
        {
            let name = name.to_owned();
            self.snippet(name, braced)?;
            return Ok(None);
        }
        let place = first.place.clone();
        let mut directives = Vec::new();
        loop {
            match self.next()? {
                None if braced => {
                    let fault = Fault::new(&place, "the server block doesn't end");
                    return Err(vec![fault.help("write the `}` that is missing")]);
                }
                None => break,
                Some(token) if token.is("}") && braced => break,
                Some(token) => directives.push(self.directive(token)?),
            }
        }
        Ok(Some(Block { keys, directives }))
    }

    /// Words up to `{` or the end of the line, which a `,` puts off; and whether there was a `{`.
    fn keys(&mut self) -> Result<(Vec<Token>, bool), Vec<Fault>> {
        let mut keys: Vec<Token> = Vec::new();
        let mut another = true;
        while let Some(next) = self.peek()? {
            if next.starts_line && !another {
                return Ok((keys, false));
            }
            let Some(mut token) = self.next()? else { break };
            if token.is("{") {
                if another && !keys.is_empty() {
                    return Err(self.fault("there is no zone between `,` and `{`"));
                }
                return Ok((keys, true));
            }
            if token.is("}") {
                return Err(self.fault("this `}` closes nothing"));
            }
            another = token.text.ends_with(',');
            token.text.truncate(token.text.len() - usize::from(another));
            if !token.text.is_empty() {
                keys.push(token);
            }
        }
        Ok((keys, false))
    }

    fn snippet(&mut self, name: String, braced: bool) -> Result<(), Vec<Fault>> {
        if !braced {
            return Err(self.fault(format!("the snippet `({name})` needs a `{{`")));
        }
        if self.snippets.contains_key(&name) {
            return Err(self.fault(format!("there is a snippet `({name})` already")));
        }
        let mut body = Vec::new();
        let mut depth = 1_u32;
        // Imports in it are done where it is imported itself.
        while let Some(token) = self.pending.pop() {
            depth += u32::from(token.is("{"));
            depth -= u32::from(token.is("}"));
            if depth == 0 {
                self.snippets.insert(name, body);
                return Ok(());
            }
            body.push(token);
        }
        Err(self.fault(format!("the snippet `({name})` doesn't end")))
    }

    fn directive(&mut self, name: Token) -> Result<Directive, Vec<Fault>> {
        if name.is("}") || name.is("{") {
            return Err(self.fault(format!("`{}` stands in the place of a plugin", name.text)));
        }
        let place = name.place.clone();
        let (head, mut open) = self.line(name)?;
        let mut options = Vec::new();
        while open {
            match self.next()? {
                None => {
                    let what = format!("the block of `{}` doesn't end", head.name.text);
                    return Err(vec![Fault::new(&place, what)]);
                }
                Some(token) if token.is("}") => open = false,
                Some(token) => match self.line(token)? {
                    (line, false) => options.push(line),
                    (line, true) => {
                        let what = format!("`{}` has no block of its own", line.name.text);
                        return Err(vec![Fault::new(&line.name.place, what)]);
                    }
                },
            }
        }
        Ok(Directive { head, options })
    }

    /// The words behind `name`, and whether a `{` ends the line.
    fn line(&mut self, name: Token) -> Result<(Line, bool), Vec<Fault>> {
        let mut args = Vec::new();
        while let Some(token) = self.next_on_line()? {
            if token.is("{") {
                if self.peek()?.is_some_and(|next| !next.starts_line) {
                    return Err(self.fault("`{` has to end its line"));
                }
                return Ok((Line { name, args }, true));
            }
            if token.is("}") {
                return Err(self.fault("`}` has to stand on a line of its own"));
            }
            args.push(token);
        }
        Ok((Line { name, args }, false))
    }

    /// Puts what is imported in the place of the two words.
    fn import(&mut self) -> Result<(), Fault> {
        let Some(import) = self.pending.pop() else {
            return Ok(());
        };
        let place = import.place;
        let mut args = Vec::new();
        while let Some(arg) = self.pending.pop_if(|next| !next.starts_line) {
            args.push(arg.text);
        }
        let [wanted] = args.as_slice() else {
            let fault = Fault::new(&place, "`import` takes one file or snippet");
            return Err(fault.help("write `import FILE`, or `import NAME` for `(NAME)`"));
        };
        self.imports += 1;
        if self.imports > MAX_IMPORTS {
            let what = format!("more than {MAX_IMPORTS} imports; does one import itself?");
            return Err(Fault::new(&place, what));
        }
        let mut words = match self.snippets.get(wanted) {
            Some(words) => words.clone(),
            None => self.import_files(&place, wanted)?,
        };
        if words.len() + self.pending.len() > MAX_WORDS {
            return Err(Fault::new(&place, "imports come to too many words"));
        }
        if let Some(first) = words.first_mut() {
            first.starts_line = true;
        }
        self.pending.extend(words.into_iter().rev());
        Ok(())
    }

    /// Words of the files that `wanted` names, relative to the file that imports them.
    fn import_files(
        &mut self,
        place: &super::error::Place,
        wanted: &str,
    ) -> Result<Vec<Token>, Fault> {
        let directory = place.file.parent().unwrap_or(Path::new(""));
        let mut words = Vec::new();
        for file in matching(&directory.join(wanted)).map_err(|what| Fault::new(place, what))? {
            let text = files::read(&file).map_err(|error| {
                let what = format!("cannot import {}: {error}", file.display());
                Fault::new(place, what).help("name a file, or a snippet that stands above")
            })?;
            let file: Arc<Path> = Arc::from(file);
            let faults = &mut self.faults;
            words.extend(tokens(&file, &text, self.pillars, self.environment, faults));
            self.imported.push(text);
        }
        Ok(words)
    }

    fn fault(&self, what: impl Into<String>) -> Vec<Fault> {
        let fault = self.last.as_ref().map(|last| Fault::new(&last.place, what));
        fault.into_iter().collect()
    }
}

/// Files that a pattern with at most one `*`, in its last part, stands for; sorted.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let unsupported = || {
        format!(
            "the pattern {} is too much; one `*` in the file name is what labctl reads",
            pattern.display()
        )
    };
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Ok(vec![pattern.to_owned()]);
    };
    let name = name.to_string_lossy();
    if directory.to_string_lossy().contains('*') || name.contains(['?', '[']) {
        return Err(unsupported());
    }
    let Some((start, end)) = name.split_once('*') else {
        return Ok(vec![pattern.to_owned()]);
    };
    if end.contains('*') {
        return Err(unsupported());
    }
    let entries = std::fs::read_dir(directory);
    let entries =
        entries.map_err(|error| format!("cannot list {}: {error}", directory.display()))?;
    let fits = |name: &str| {
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    Ok(files)
}
