"""The handler of those who have no server: FastAPI around sentence-transformers' `CrossEncoder`."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder

app = FastAPI()
model = CrossEncoder(sys.argv[1], device="cpu")


class Body(BaseModel):
    """A request."""

    query: str
    documents: list[str]


@app.post("/rerank")
def rerank(body: Body) -> dict[str, Any]:
    """Score, and sort."""
    scores = model.predict([(body.query, text) for text in body.documents])
    best = sorted(enumerate(scores.tolist()), key=lambda pair: -pair[1])
    return {"results": [{"index": index, "relevance_score": score} for index, score in best]}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), access_log=False)
