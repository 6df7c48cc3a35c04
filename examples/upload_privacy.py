"""What an upload to the cloud gives away, and what it is worth: `python examples/upload_privacy.py [RUN]`.

RUN is a saved CoCorrRec; without one, a small log is fitted first. Prints a table in Markdown.
"""

import sys

import palate
from palate.sequence.upload_privacy import measure_upload_privacy
from palate.testing.recommenders import small_log

attack = {}
if len(sys.argv) > 1:
    recommender = palate.load(sys.argv[1])
else:
    recommender = palate.fit(small_log(), "cocorrrec", training={"epochs": 3})
    attack = {"taught": 400, "known": 400, "epochs": 15}  # a log of 40 users needs no longer lesson

log = recommender.users.log
rows = measure_upload_privacy(recommender.model, log.drop_last(1), log.last(), **attack)
print("| upload | bytes | clicks recovered (95 % interval) | last click, 1 guess | 10 guesses | recall@10 | ndcg@10 |")
print("|---|---|---|---|---|---|---|")
for row in rows:
    low, high = row.recovered_interval.low, row.recovered_interval.high
    cells = [
        row.upload.name,
        f"{row.bytes:,.0f}",
        f"{row.recovered:.1%} ({low:.1%} to {high:.1%})",
        f"{row.last_item:.1%}",
        f"{row.last_item_10:.1%}",
        f"{row.recall.value:.4f}",
        f"{row.ndcg.value:.4f}",
    ]
    print(f"| {' | '.join(cells)} |")
print(f"\n{rows[0].attacked} users attacked; ranking of {rows[0].ndcg.count:,} users among all items.")
