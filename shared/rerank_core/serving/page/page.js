"use strict";

const EXAMPLE = {
  query: "How do I write JSON to a file?",
  passages: [
    "The csv module reads and writes tables of comma-separated values.",
    "json.loads parses a JSON string that was read from a file or a network.",
    "Rivers carry water from the mountains to the sea.",
    "json.dump writes a Python object to an open file as JSON.",
    "pickle.dump writes an object to a file in a format that only Python reads.",
    "To write text to a file, open it with mode 'w'.",
  ],
};
const element = (id) => document.getElementById(id);

async function ask(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (element("key").value) headers.Authorization = `Bearer ${element("key").value}`;
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers,
    body: body && JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({ message: response.statusText }));
  if (response.status === 401) element("key-row").hidden = false;
  if (!response.ok) throw new Error(answer.message || `status ${response.status}`);
  return answer;
}

async function listModels() {
  try {
    const models = (await ask("v1/models")).data;
    element("model").replaceChildren(...models.map((model) => new Option(model.id, model.id)));
    say("");
  } catch (error) {
    say(error.message);
  }
}

function say(text) {
  element("status").textContent = text;
}

function make(tag, text, ...children) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

/** The text of a passage, its best spans marked; they are counted in code points. */
function marked(text, spans) {
  const characters = Array.from(text);
  const paragraph = make("p", null);
  let end = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    if (span.start < end) continue;
    paragraph.append(characters.slice(end, span.start).join(""));
    paragraph.append(make("mark", characters.slice(span.start, span.end).join("")));
    end = span.end;
  }
  paragraph.append(characters.slice(end).join(""));
  return paragraph;
}

function change(was, now) {
  if (was === now) return "stays";
  return was > now ? `up ${was - now}` : `down ${now - was}`;
}

function show(passages, answer) {
  const results = answer.results;
  const unscored = new Set(answer.rerank.unscored);
  const scores = results.filter((r) => !unscored.has(r.index)).map((r) => r.relevance_score);
  const isLogit = answer.rerank.scale === "logit";
  const least = isLogit ? Math.min(...scores) : 0;
  const most = isLogit ? Math.max(...scores, least + 1) : 1;
  element("before").replaceChildren(...passages.map((text, index) => {
    const place = 1 + results.findIndex((result) => result.index === index);
    const facts = make("div", `${index + 1}. now ${place}`);
    facts.className = "facts";
    return make("li", null, facts, make("p", text));
  }));
  element("after").replaceChildren(...results.map((result, place) => {
    const facts = make("div", null, make("b", `${place + 1}.`));
    facts.className = "facts";
    if (unscored.has(result.index)) {
      facts.append("not scored");
    } else {
      const meter = make("meter", null);
      Object.assign(meter, { min: least, max: most, value: result.relevance_score });
      meter.setAttribute("aria-hidden", "true");
      facts.append(make("span", result.relevance_score.toFixed(3)), meter);
    }
    facts.append(make("span", change(result.index + 1, place + 1)));
    return make("li", null, facts, marked(passages[result.index], result.relevant_spans || []));
  }));
  element("result").hidden = false;
  element("after-title").focus({ preventScroll: true });
  element("result").scrollIntoView({ block: "nearest" });
}

async function rerank(event) {
  event.preventDefault();
  if (!element("form").reportValidity()) return;
  const documents = element("passages").value.split(/\n\s*\n/).filter((text) => text.trim());
  say("Scoring…");
  element("go").disabled = true;
  try {
    if (!element("model").value) await listModels();
    const answer = await ask("v2/rerank", {
      model: element("model").value || null,
      query: element("query").value,
      documents,
      raw_scores: true,
      relevant_spans: { mode: "enabled", max_spans: 3 },
    });
    show(documents, answer);
    const { scale, usage, degraded } = answer.rerank;
    const cost = `${answer.model}: ${usage.pairs} pairs in ${usage.seconds.toFixed(2)} s`;
    say([`${cost}; scores are on the scale ${scale}.`, degraded].filter(Boolean).join(" "));
  } catch (error) {
    say(error.message);
  } finally {
    element("go").disabled = false;
  }
}

element("form").addEventListener("submit", rerank);
element("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) rerank(event);
});
element("key").addEventListener("change", listModels);
element("example").addEventListener("click", () => {
  element("query").value = EXAMPLE.query;
  element("passages").value = EXAMPLE.passages.join("\n\n");
  element("go").click();
});
listModels();
