"""Train, judge, save and ask a next-item model on the shipped films: `python examples/first_recommender.py`."""

import tempfile

import palate

data = palate.open("movielens-small")
rec = palate.fit(data, "transitions", seed=0)
print(rec.evaluate())
print(rec.recommend(history=["Toy Story (1995)", "Toy Story 2 (1999)"], k=5))
with tempfile.TemporaryDirectory() as folder:
    rec.save(f"{folder}/mine")
    print(palate.load(f"{folder}/mine").card.metric("ndcg@10"))
