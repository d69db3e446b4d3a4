import { describe, expect, it } from "vitest";
import { number, percent, pieces, plural, printable, pythonString, spoken } from "../src/ui/format";
import { visible } from "../src/ui/rows";
import { pageTheme } from "../src/ui/theme";

describe("numbers", () => {
  it("have a real minus sign, a dash for unknown, and an exponent where they would vanish", () => {
    expect([number(6.417), number(-0.5), number(NaN), number(null), number(0)]).toEqual(["6.42", "\u22120.50", "\u2013", "\u2013", "0.00"]);
    expect(number(0.00012)).toBe("1.2e\u22124");
    expect(number(1234567)).toBe("1.2e6");
    expect(number(-Infinity)).toBe("\u2212\u221e");
  });

  it("are percentages that never show a rare thing as zero", () => {
    expect([percent(0.0041), percent(0.087), percent(0.5), percent(0.00001), percent(0), percent(NaN)]).toEqual([
      "0.41%",
      "8.70%",
      "50.0%",
      "<0.01%",
      "0%",
      "\u2013",
    ]);
  });

  it("agree with their noun", () => {
    expect([plural(1, "token"), plural(2, "token"), plural(1234, "token")]).toEqual(["1 token", "2 tokens", "1,234 tokens"]);
  });
});

describe("tokens", () => {
  it("show spaces, newlines and tabs", () => {
    expect(spoken(" Marsh")).toBe("\u00b7Marsh");
    expect(spoken("\n\t")).toBe("\u21b5\u21e5");
    expect(spoken("")).toBe("empty token");
  });

  it("show what hides or misleads by its code", () => {
    expect(spoken("\u0007")).toBe("\\x07");
    expect(spoken("\u202eevil")).toBe("U+202Eevil");
    expect(spoken("a\u200bb")).toBe("aU+200Bb");
    expect(spoken("\ud800")).toBe("U+D800");
  });

  it("keep characters outside the basic plane whole", () => {
    expect(pieces("a\u{1F600}b")).toEqual([{ kind: "text", text: "a\u{1F600}b" }]);
  });

  it("in prose keep their spaces", () => {
    expect(printable("two words\u202e")).toBe("two wordsU+202E");
  });
});

describe("Python strings", () => {
  it("escape what Python would read differently", () => {
    expect(pythonString("it's \"so\"\\\n\t\u0001\u2028")).toBe('"it\'s \\"so\\"\\\\\\n\\t\\x01\\u2028"');
  });
});

describe("visible rows", () => {
  it("cover the viewport and stay within the table", () => {
    expect(visible(0, 250, 25, 1_000_000)).toEqual({ first: 0, last: 18 });
    expect(visible(25 * 500_000, 250, 25, 1_000_000)).toEqual({ first: 499_992, last: 500_018 });
    expect(visible(25 * 999_990, 250, 25, 1_000_000)).toEqual({ first: 999_982, last: 1_000_000 });
    expect(visible(5000, 250, 25, 3)).toEqual({ first: 3, last: 3 });
    expect(visible(0, 250, 25, 0)).toEqual({ first: 0, last: 0 });
  });
});

describe("theme", () => {
  const page = (html: Partial<{ data: object; classes: string[]; theme: string }>, body: { data?: object; classes?: string[] } = {}) =>
    pageTheme(
      {
        dataset: { ...(html.data ?? {}) } as DOMStringMap,
        classList: { contains: (name: string) => (html.classes ?? []).includes(name) } as DOMTokenList,
        getAttribute: (name: string) => (name === "theme" ? (html.theme ?? null) : null),
      },
      {
        dataset: { ...(body.data ?? {}) } as DOMStringMap,
        classList: { contains: (name: string) => (body.classes ?? []).includes(name) } as DOMTokenList,
      },
    );

  it("follows JupyterLab, VS Code, Colab, marimo and the page's own switch", () => {
    expect(page({}, { data: { jpThemeLight: "false" } })).toBe("dark");
    expect(page({}, { data: { jpThemeLight: "true" } })).toBe("light");
    expect(page({}, { classes: ["vscode-dark"] })).toBe("dark");
    expect(page({}, { classes: ["vscode-high-contrast", "vscode-high-contrast-light"] })).toBe("light");
    expect(page({ theme: "dark" })).toBe("dark");
    expect(page({ classes: ["dark"] })).toBe("dark");
    expect(page({ data: { wbTheme: "light" } }, { data: { jpThemeLight: "false" } })).toBe("light");
    expect(page({})).toBeNull();
  });
});
