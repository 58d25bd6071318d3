export { Decoration, EditorView, WidgetType, keymap, lineNumbers, placeholder, drawSelection, highlightSpecialChars } from "@codemirror/view";
export { EditorState, StateEffect, StateField, Compartment, Prec } from "@codemirror/state";
export { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
export { HighlightStyle, syntaxHighlighting, bracketMatching } from "@codemirror/language";
export { autocompletion, completionKeymap, closeBrackets, closeBracketsKeymap, startCompletion } from "@codemirror/autocomplete";
export { sql, SQLDialect, PostgreSQL, keywordCompletionSource } from "@codemirror/lang-sql";
export { tags } from "@lezer/highlight";
