//! Just enough of Rust's grammar to tell code from comments, and to read paths.

/// A path such as `std::time::Duration`, with the groups of `use` written out.
#[derive(Debug, PartialEq, Eq)]
pub struct Path {
    /// Its segments, joined by `::`; a glob ends in `*`.
    pub text: String,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// How many braces are open around it; 0 is the file's own level.
    pub depth: usize,
}

impl Path {
    /// The segment at `index`, counted from 0.
    pub fn segment(&self, index: usize) -> Option<&str> {
        self.text.split("::").nth(index)
    }

    /// True if the path is `prefix` or lies below it.
    pub fn is_below(&self, prefix: &str) -> bool {
        self.text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// The paths of two and more segments in `code`, in order.
pub fn paths(code: &str) -> Vec<Path> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if !token.is_name() {
            at += 1;
            continue;
        }
        let mut texts = Vec::new();
        at = path_tree(&tokens, at, "", &mut texts);
        let line = token.line;
        found.extend(texts.into_iter().filter(|text| text.contains("::")).map(|text| Path {
            text,
            line,
            depth,
        }));
    }
    found
}

/// The modules that `code` declares to stand in files of their own.
pub fn modules(code: &str) -> Vec<&str> {
    tokens(code)
        .windows(3)
        .filter(|three| three[0].text == "mod" && three[1].is_name() && three[2].text == ";")
        .map(|three| three[1].text)
        .collect()
}

/// The files that `text` gives its modules by `#[path = "…"]`.
pub fn module_paths(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("#[path = \""))
        .filter_map(|rest| rest.split('"').next())
}

/// The macros that `code` calls, each with its line.
pub fn macros(code: &str) -> Vec<(usize, &str)> {
    tokens(code)
        .windows(3)
        .filter(|three| {
            three[0].is_name() && three[1].text == "!" && matches!(three[2].text, "(" | "[" | "{")
        })
        .map(|three| (three[0].line, three[0].text))
        .collect()
}

/// `text` with comments, strings and characters blanked: what is left is code,
/// on the lines where it stood.
pub fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = blank_until(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' }));
            at = end;
        }
    }
    out
}

/// `code` without the items that are compiled for tests only, on the same lines.
pub fn without_tests(code: &str) -> String {
    let mut rest = code.to_owned();
    while let Some(start) =
        ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|mark| rest.find(mark)).min()
    {
        let item = start + rest[start..].find(']').map_or(0, |end| end + 1);
        let body = rest[item..].find(['{', ';']).map_or(rest.len(), |at| item + at);
        let head = &rest[item..body];
        let is_item = ["mod ", "fn ", "use ", "impl"].iter().any(|word| head.contains(word));
        let end = if is_item { closing(&rest, body) } else { item };
        let blank: String =
            rest[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        rest.replace_range(start..end, &blank);
    }
    rest
}

/// Just behind the brace that closes the one at `open`; behind `open` where it
/// is no brace.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return open + at + c.len_utf8();
        }
    }
    code.len()
}

/// The end of the comment, string or character that begins at `at`; `at` where
/// none does.
fn blank_until(chars: &[char], at: usize) -> usize {
    let begins = |text: &str| text.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    if begins("//") {
        return (at..chars.len()).find(|&n| chars[n] == '\n').unwrap_or(chars.len());
    }
    if begins("/*") {
        return comment_end(chars, at);
    }
    if chars[at] == '"' {
        return quoted_end(chars, at, '"');
    }
    if chars[at] == '\'' {
        let is_char = chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'');
        return if is_char { quoted_end(chars, at, '\'') } else { at };
    }
    let is_start = at == 0 || !is_word(chars[at - 1]);
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| begins(prefix));
    match prefix {
        Some(prefix) if is_start => raw_string_end(chars, at, at + prefix.len()).unwrap_or(at),
        _ => at,
    }
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut n) = (0_usize, at);
    while n + 1 < chars.len() {
        match (chars[n], chars[n + 1]) {
            ('/', '*') => (depth, n) = (depth + 1, n + 2),
            ('*', '/') => (depth, n) = (depth - 1, n + 2),
            _ => n += 1,
        }
        if depth == 0 {
            return n;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut n = at + 1;
    while n < chars.len() && chars[n] != quote {
        n += if chars[n] == '\\' { 2 } else { 1 };
    }
    (n + 1).min(chars.len())
}

/// `None` where no raw string begins at `at`, whose hashes begin at `hashes`.
fn raw_string_end(chars: &[char], at: usize, hashes: usize) -> Option<usize> {
    let count = chars[hashes..].iter().take_while(|&&c| c == '#').count();
    let open = hashes + count;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let is_end =
        |n: usize| chars[n] == '"' && (1..=count).all(|more| chars.get(n + more) == Some(&'#'));
    debug_assert!(at < hashes, "a raw string has a prefix");
    Some((open + 1..chars.len()).find(|&n| is_end(n)).map_or(chars.len(), |n| n + 1 + count))
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    line: usize,
}

impl Token<'_> {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, `::`, and single other characters.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        let length = if is_word(c) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        if c == '\n' {
            line += 1;
        } else if !c.is_whitespace() {
            tokens.push(Token { text: &rest[..length], line });
        }
        at += length;
    }
    tokens
}

/// Reads the path at `at` (with its groups) behind `prefix` into `found`;
/// returns where it ends.
fn path_tree(tokens: &[Token<'_>], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let text_at = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut path = prefix.to_owned();
    loop {
        let joint = if path.is_empty() { "" } else { "::" };
        match text_at(at) {
            "*" if !joint.is_empty() => {
                found.push(format!("{path}::*"));
                return at + 1;
            }
            "{" if !joint.is_empty() => {
                at += 1;
                while !matches!(text_at(at), "}" | "") {
                    let next = path_tree(tokens, at, &path, found);
                    // `as name`, commas and attributes between the paths.
                    at = next.max(at + 1);
                    while !matches!(text_at(at), "}" | "") && text_at(at - 1) != "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            name if tokens.get(at).is_some_and(Token::is_name) => {
                path = format!("{path}{joint}{name}");
                at += 1;
            }
            _ => {
                found.push(path);
                return at;
            }
        }
        if text_at(at) == "::" {
            at += 1;
        } else {
            found.push(path);
            return at;
        }
    }
}
