//! The checks of every page: axe-core, reflow, text spacing.

use std::fs;

use serde_json::json;

use crate::browser::{Browser, DESKTOP, NARROWEST, PHONE, Scheme};
use crate::driver::axe_file;

impl Browser {
    /// Fails unless axe-core finds nothing on this page, in light and dark, on a phone and a
    /// desktop; no text is cut off or covered when it is spaced; and the page needs no sideways
    /// scrolling on the narrowest screen.
    pub(crate) async fn is_accessible(&self, page: &str) {
        self.run(&fs::read_to_string(axe_file()).unwrap(), Vec::new())
            .await;
        for size in [DESKTOP, PHONE] {
            for scheme in [Scheme::Light, Scheme::Dark] {
                self.window(size, scheme).await;
                let found = self.run_async(AXE, Vec::new()).await;
                assert_eq!(found, json!([]), "{page}, {scheme:?}, {size:?}: {found:#}");
            }
            let found = self.run(SPACED, Vec::new()).await;
            assert_eq!(found, json!([]), "{page}, text spaced, {size:?}: {found:#}");
        }
        self.window(NARROWEST, Scheme::Light).await;
        let root = "const root = document.documentElement; \
                    return [root.scrollWidth, root.clientWidth];";
        let widths = self.run(root, Vec::new()).await;
        assert_eq!(widths, json!([NARROWEST.0, NARROWEST.0]), "{page}");
        self.window(DESKTOP, Scheme::Light).await;
    }
}

/// Runs all rules that are on by default, and the one of WCAG 2.2 that is not.
const AXE: &str = r#"
const done = arguments[arguments.length - 1];
const rules = { "target-size": { enabled: true } };
axe.run(document, { rules, resultTypes: ["violations"] }).then(
  (results) => {
    const found = results.violations.map((violation) => ({
      rule: violation.id,
      help: violation.help,
      nodes: violation.nodes.map((node) => node.html + " " + node.failureSummary),
    }));
    const ran = [...results.violations, ...results.passes, ...results.incomplete, ...results.inapplicable];
    if (!ran.some((rule) => rule.id === "target-size")) found.push("target-size did not run");
    done(found);
  },
  (error) => done([String(error)]),
);
"#;

/// Finds text that, spaced by WCAG 2.2, 1.4.12, leaves its box, is clipped, or overlaps other text.
const SPACED: &str = r#"
const spacing = new CSSStyleSheet();
spacing.replaceSync(`
  * { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important; }
  p { margin-bottom: 2em !important; }
`);
document.adoptedStyleSheets = [spacing];
const found = [];
const root = document.documentElement;
if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide`);
const box = (element) => {
  while (getComputedStyle(element).display === "inline") element = element.parentElement;
  return element;
};
const lines = [];
const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = nodes.nextNode());) {
  const parent = node.parentElement;
  if (!node.data.trim() || !parent.checkVisibility()) continue;
  if (parent.closest(".visually-hidden, select, title")) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  for (const line of range.getClientRects()) {
    if (line.width < 1) continue;
    lines.push([node, line]);
    if (parent.closest("svg")) continue;
    for (let outer = box(parent); outer; outer = outer.parentElement) {
      const clips = getComputedStyle(outer).overflowX;
      if (outer !== box(parent) && clips !== "hidden" && clips !== "clip") continue;
      const edge = outer.getBoundingClientRect();
      if (line.left < edge.left - 1 || line.right > edge.right + 1 || line.bottom > edge.bottom + 1) {
        found.push(`${node.data.trim()} leaves ${outer.outerHTML.slice(0, 80)}`);
      }
    }
  }
}
for (const [number, [node, line]] of lines.entries()) {
  for (const [other, its] of lines.slice(number + 1)) {
    const across = Math.min(line.right, its.right) - Math.max(line.left, its.left);
    const down = Math.min(line.bottom, its.bottom) - Math.max(line.top, its.top);
    if (node !== other && across > 1 && down > 1) {
      found.push(`${node.data.trim()} lies on ${other.data.trim()}`);
    }
  }
}
for (const select of document.querySelectorAll("select")) {
  const width = select.offsetWidth;
  select.style.width = "max-content";
  if (select.offsetWidth > width) found.push(`${select.id} is ${width} wide, and needs ${select.offsetWidth}`);
  select.style.width = "";
}
document.adoptedStyleSheets = [];
return found;
"#;
