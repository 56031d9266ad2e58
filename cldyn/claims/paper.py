"""The paper, Xue et al. (2023), by number, in our words, and the claims that show it."""

import re
from collections.abc import Sequence

from cldyn import sizes
from cldyn.checks import refuse, require
from cldyn.claims.table import Claim

STATEMENTS = {
    "Prop. 4.2": "minimizers of the supervised loss give all training views of a class one "
    "embedding",
    "Thm 4.3": "with distinct noise directions some minimizer keeps the subclass: a probe reads it",
    "Thm 4.4": "without a subclass mean the minimum-norm minimizer has |W v_2| = 0 exactly",
    "Thm 4.5": "early in training the subclass is learned, at a step of order "
    "ln(sqrt(d/p)/sigma_0)",
    "Thm 4.7": "with a subclass mean the minimum norm has |W v_2| = O(sigma/sqrt(n m))",
    "Thm 5.1": "the minimum norm learns the class only if its variance is among the p largest",
    "Thm 5.4": "the minimum norm has |W v_1| = 0 at every p where examples have features of their "
    "own, which views keep while they change the class",
    "Thm 6.1": "one data set collapses under SCL, suppresses under UCL, and does neither under "
    "the joint loss",
    "Fig. 1": "test embeddings at epochs 0, 45, 60, 100: four groups, then two",
    "Fig. 2": "|W v_1| and |W v_2| over training, p = 3 and p = 500",
    "Fig. 3": "CIFAR-100: subclass accuracy rises and falls, class accuracy only rises",
    "Fig. 4": "|W v_1| over phi_K, p = K = 3 and 50: a plateau, a switch, zero",
    "Fig. 5": "MNIST RandBit: more bits suppress digits, a wider embedding cures it",
    "Fig. 6": "the two terms of the gradient balance where |W v_2| peaks",
    "Table 2": "RandBit on CIFAR: wider networks learn more",
    "Table 3": "CIFAR-100: the joint loss keeps subclasses",
    "Table 4": "MNIST RandBit: the joint loss keeps digits",
    "Table 5": "CIFAR-100 RandBit: the joint loss keeps both",
    "Table 6": "CIFAR-10 RandBit: a wider last block learns more",
}
_KINDS = {"pro": "Prop.", "thm": "Thm", "the": "Thm", "fig": "Fig.", "tab": "Table"}


def statement_of(words: str) -> str:
    """What words name, as "thm 4.5", "Figure 2b" or "fig-1" do, in the paper or not; else ""."""
    parts = re.fullmatch(r"([a-z]+)[ ._-]*(\d+(?:\.\d+)?)[ab]?", words.strip().lower())
    kind = _KINDS.get(parts[1][:3]) if parts else None
    return f"{kind} {parts[2]}" if parts and kind else ""


def that_show(claims: Sequence[Claim], statement: str) -> list[Claim]:
    """The claims that show a statement."""
    return [claim for claim in claims if statement in claim.shows]


def chosen(claims: Sequence[Claim], words: Sequence[str]) -> tuple[list[Claim], list[str]]:
    """Claims that words name, by name or by a statement they show, and those statements.

    Args:
        claims: all there are.
        words: names of claims or statements; none: all claims.

    Returns:
        Claims, in their order, and statements.

    Raises:
        ValueError: a word that names neither, or a statement that no claim shows.
    """
    names, statements, wanted = [claim.name for claim in claims], [], []
    for word in words:
        statement = "" if word in names else statement_of(word)
        if not statement:
            require(word in names, "claim", word, f"one of {', '.join(names)}, or a statement "
                    "of the paper, as 'thm 4.5' or 'fig 1' (cldyn list has them)")  # fmt: skip
            wanted.append(word)
            continue
        near = [name for name in STATEMENTS if name.split()[0] == statement.split()[0]]
        require(statement in STATEMENTS, "statement", word, f"one of {', '.join(near)}")
        found = [claim.name for claim in that_show(claims, statement)]
        if not found:
            there = [name for name in STATEMENTS if that_show(claims, name)]
            allowed = f"one that a claim shows: {', '.join(there)}"
            if sizes.that_show(statement):
                commands, needs = _sizes_of(statement)
                allowed = f"one that a claim shows; at its own size it is {commands} ({needs})"
            refuse("statement", f"{statement}: {STATEMENTS[statement]}", allowed)
        statements.append(statement)
        wanted += found
    return [claim for claim in claims if not words or claim.name in wanted], statements


def listing(claims: Sequence[Claim]) -> list[str]:
    """Lines of the map from statements to claims."""
    lines = []
    for statement, says in STATEMENTS.items():
        found = [claim.name for claim in that_show(claims, statement)]
        if sizes.that_show(statement):
            found.append(f"at its own size {_sizes_of(statement)[0]}")
        lines.append(f"{statement:<10} {says}\n{'':<10} {', '.join(found)}")
    return lines


def _sizes_of(statement: str) -> tuple[str, str]:
    """What trains a statement at the paper's size, and what that needs."""
    shown = sizes.that_show(statement)
    commands = " or ".join(f"cldyn sweep {one.name} --data DIR --store STORE" for one in shown)
    return commands, " or ".join(dict.fromkeys(one.needs for one in shown))
