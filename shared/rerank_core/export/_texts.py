"""Queries and texts for comparing an export with its original: short, long, plain and odd."""

from __future__ import annotations

__all__ = ["QUERIES", "TEXTS"]

QUERIES = (
    "json python",
    "How do I write a list of dictionaries to a file?",
    "what makes bread rise and why does yeast need sugar",
    "Which treatment lowers blood pressure in older patients?",
)

_SENTENCES = (
    "json.dumps turns a Python object into a JSON string.",
    "Open the file in write mode and pass it to json.dump together with the list.",
    "The csv module reads and writes tables; DictWriter maps dictionaries onto rows.",
    "A list comprehension builds a new list from any iterable.",
    "Dictionaries keep their insertion order since Python 3.7.",
    "Pickle stores almost any object, but must not be loaded from strangers.",
    "Use pathlib to join folders and file names without caring about slashes.",
    "Exceptions that are not caught end the program with a traceback.",
    "Unit tests belong beside the code that they describe.",
    "A database index speeds up reading and slows down writing.",
    "Yeast feeds on sugar and gives off carbon dioxide, which makes dough rise.",
    "Salt slows fermentation and strengthens the gluten of a dough.",
    "Sourdough bread rises through wild yeast and lactic acid bacteria.",
    "Baking powder releases gas when it becomes wet and again in the oven.",
    "Whole grain flour takes up more water than white flour.",
    "Knead for ten minutes, let it rest for an hour, then shape two loaves.",
    "Olive oil, garlic and tomatoes are all this sauce needs.",
    "Thiazide diuretics lower blood pressure in patients over sixty.",
    "In older adults a target below 150 mmHg reduced the risk of stroke.",
    "Walking half an hour a day lowers systolic pressure by a few points.",
    "The trial found no difference between the drug and the placebo.",
    "Side effects were mild: dizziness, a dry cough and tiredness.",
    "Insulin lets cells take up glucose from the blood.",
    "Vaccines train the immune system without causing the disease.",
    "An X-ray shows bones well, and soft tissue hardly at all.",
    "Rivers carry water and sand from the mountains to the sea.",
    "The storm is expected to reach the coast on Friday evening.",
    "Glaciers in the Alps have lost half of their volume since 1900.",
    "Paris is the capital of France, and Canberra that of Australia.",
    "The treaty was signed in 1648 and ended thirty years of war.",
    "She won the match in three sets after losing the first.",
    "Shares fell by four per cent after the company cut its forecast.",
    "Interest rates stayed where they were for the third time this year.",
    "The orchestra opened the evening with a symphony by Haydn.",
    "Bees find their way by the position of the sun.",
    "Light needs about eight minutes from the sun to the earth.",
    "The museum is closed on Mondays and on public holidays.",
    "Turn left at the bridge and follow the signs to the harbour.",
    "To reset the router, hold the button for ten seconds.",
    "Your order has been shipped and should arrive within two days.",
)
_ODD = (
    "a",
    "?",
    "…",
    "42",
    "JSON",
    "PYTHON JSON YEAST PRESSURE",
    "https://docs.python.org/3/library/json.html#json.dump",
    "def save(rows, path):\n    with open(path, 'w') as f:\n        json.dump(rows, f)",
    '{"id": 7, "tags": ["yeast", "bread"], "price": 3.5e-2}',
    "| drug | dose | effect |\n| --- | --- | --- |\n| placebo | 0 mg | none |",
    "Die Hefe braucht Zucker, damit der Teig aufgeht.",
    "Le sucre nourrit la levure et fait lever la pâte à pain.",
    "Дрожжи питаются сахаром, и тесто поднимается.",
    "如何把字典列表写入文件,请用 json.dump。",
    "يخفض الدواء ضغط الدم لدى كبار السن",
    "रोटी फूलने के लिए खमीर को चीनी चाहिए",
    "🍞🥖 + 🦠 = ⬆️",
    "naïve café — “quoted” ½ ﬁne e\u0301",
)
TEXTS = (
    *_SENTENCES,
    *_ODD,
    " ".join(_SENTENCES[:8]),
    " ".join(_SENTENCES[10:25]),
    " ".join(_SENTENCES),
    # Longer than most models read.
    " ".join((*_SENTENCES[::-1], *_SENTENCES[::2])),
)
