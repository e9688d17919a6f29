"""Reports: one document made once from evidence, written as self-contained HTML, Markdown and PDF."""
