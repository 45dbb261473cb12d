"""English sentences made from templates: a benchmark of six topics, and reviews from elsewhere.

    texts, topics = told(400)
    elsewhere = reviews(300)

All of them are distinct and 5 to 20 words long; the same seed gives the same sentences. They are
ours: nothing was copied from a corpus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

_Slots = Mapping[str, tuple[str, ...]]

_COMMON: Final[_Slots] = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "number": ("two", "three", "four", "five", "seven", "nine", "twelve", "twenty"),
    "town": ("Lisbon", "Bergen", "Turin", "Dublin", "Ghent", "Porto", "Riga", "Basel", "Leeds"),
    "person": ("my aunt", "the teacher", "our neighbour", "a young doctor", "the old baker"),
}

_TOPICS: Final[Mapping[str, tuple[tuple[str, ...], _Slots]]] = {
    "cooking": (
        (
            "Chop the {vegetable} and fry it in {fat} until it is {done}.",
            "Stir {number} spoons of {spice} into the {dish} before serving it.",
            "Bake the {dish} for {number} minutes, then cover it with {vegetable}.",
            "The {dish} tastes better when the {vegetable} is roasted with {spice}.",
            "Leave the dough to rest beside the stove while the {vegetable} simmers in {fat}.",
            "{person} always adds {spice} and a little {fat} to the {dish}.",
        ),
        {
            "vegetable": ("onion", "leek", "carrot", "fennel", "pumpkin", "spinach", "cabbage"),
            "fat": ("butter", "olive oil", "lard", "sesame oil", "cream"),
            "done": ("soft", "golden brown", "crisp", "tender"),
            "spice": ("cumin", "salt", "paprika", "ginger", "nutmeg", "pepper"),
            "dish": ("soup", "stew", "risotto", "pie", "curry", "omelette"),
        },
    ),
    "weather": (
        (
            "{sky} is expected over {town} on {day}, with {wind} winds from the {side}.",
            "Temperatures in {town} will fall to {number} degrees by {day} night.",
            "After {number} days of {sky}, the {side} of the country finally dried out.",
            "{wind} gusts brought {sky} to the hills {side} of {town}.",
            "Drivers near {town} were warned of {sky} until {day} morning.",
            "The {day} forecast promises {sky} in the {side} and sunshine elsewhere.",
        ),
        {
            "sky": ("heavy rain", "light snow", "thick fog", "drizzle", "hail", "a thunderstorm"),
            "wind": ("strong", "gentle", "icy", "warm", "gusty"),
            "side": ("north", "south", "east", "west"),
        },
    ),
    "travel": (
        (
            "The {vehicle} to {town} leaves at {number} and stops at every {place}.",
            "We missed the last {vehicle} and walked {number} miles to the {place}.",
            "Tourists in {town} queue for hours outside the {place} near the {sight}.",
            "A {vehicle} ticket to {town} costs less if it is booked before {day}.",
            "From the {sight} you can see the {place} and half of {town}.",
            "{person} took a {vehicle} across the border to visit the {sight}.",
        ),
        {
            "vehicle": ("train", "ferry", "bus", "tram", "night train", "cable car"),
            "place": ("harbour", "station", "museum", "market hall", "border post", "hostel"),
            "sight": ("cathedral", "lighthouse", "old bridge", "castle", "clock tower"),
        },
    ),
    "science": (
        (
            "Researchers in {town} measured how {matter} changes when it is {act}.",
            "The {tool} showed that {matter} contains {number} kinds of {unit}.",
            "A single {unit} of {matter} can be {act} without losing its charge.",
            "Under the {tool}, {matter} looks like a field of tiny {unit}s.",
            "The theory predicts that {matter} grows denser after being {act} {number} times.",
            "Students learned to calibrate the {tool} before they {act} the {matter}.",
        ),
        {
            "matter": (
                "graphite",
                "plasma",
                "sea water",
                "silica glass",
                "yeast",
                "amber",
                "quartz",
            ),
            "act": ("heated", "cooled", "compressed", "stretched", "illuminated"),
            "tool": ("microscope", "spectrometer", "telescope", "particle counter"),
            "unit": ("crystal", "molecule", "cell", "grain"),
        },
    ),
    "sport": (
        (
            "The {team} won by {number} {score} after a late {move} on {day}.",
            "Their {role} was injured in {town} and will miss {number} matches.",
            "A clever {move} by the {role} decided the final against the {team}.",
            "Fans of the {team} sang all evening although they lost by {number} {score}.",
            "The {role} has trained in {town} since the {team} lost the cup.",
            "On {day} the {team} meet a side that has not lost for {number} weeks.",
        ),
        {
            "team": ("Rovers", "Harriers", "Wanderers", "Lions", "Falcons", "Mariners"),
            "score": ("goals", "points", "sets", "lengths"),
            "move": ("penalty", "sprint", "counterattack", "serve", "header"),
            "role": ("captain", "goalkeeper", "coach", "rower", "striker"),
        },
    ),
    "money": (
        (
            "The {bank} raised its {rate} to {number} percent on {day}.",
            "Shares of the {firm} fell sharply after the {bank} changed the {rate}.",
            "A {firm} in {town} will cut {number} hundred jobs to save costs.",
            "Investors expect the {rate} to stay low until the {firm} reports its profit.",
            "The {bank} lent the {firm} {number} million to build a factory in {town}.",
            "Because of the {rate}, {person} sold the {firm} and paid off the debt.",
        ),
        {
            "bank": ("central bank", "savings bank", "treasury", "pension fund"),
            "rate": ("interest rate", "exchange rate", "inflation target", "sales tax"),
            "firm": ("shipyard", "steel maker", "brewery", "airline", "paper mill", "insurer"),
        },
    ),
}

_REVIEWS: Final = (
    "I {love} this {thing}, it {does} and my {kin} uses it every day!",
    "Honestly the worst {thing} I ever bought, it {fails} after {number} days.",
    "Great value, but the {part} of my {thing} {fails} now and then.",
    "Do not buy this {thing} if you want a {part} that {does}.",
    "{stars} stars from me because the {part} is {good} and delivery was fast.",
    "My {kin} got the {thing} as a gift and says the {part} is {good}.",
    "Would I order the {thing} again? Yes, the {part} {does} and feels {good}.",
    "Sadly the seller ignored my messages when the {part} of the {thing} broke.",
)
_REVIEW_SLOTS: Final[_Slots] = {
    "love": ("love", "adore", "really like", "recommend", "cannot live without"),
    "thing": (
        "phone case",
        "blender",
        "headset",
        "backpack",
        "vacuum",
        "keyboard",
        "lamp",
        "watch",
    ),
    "does": ("works perfectly", "looks stunning", "never lets me down", "charges quickly"),
    "fails": ("stops working", "falls apart", "makes odd noises", "gets far too hot"),
    "part": ("battery", "zip", "screen", "handle", "cable", "button", "strap", "cover"),
    "good": ("solid", "super soft", "cheap plastic", "amazing", "so so", "very sturdy"),
    "kin": ("son", "wife", "husband", "daughter", "mum", "flatmate"),
    "stars": ("Five", "Four", "Three", "Two"),
}


def told(n: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """``n`` sentences of six topics in turn, and the topic of each.

    Raises ValueError if the templates give no ``n`` distinct ones.
    """
    rng = np.random.default_rng(seed)
    made = {
        topic: _distinct(templates, {**_COMMON, **slots}, rng)
        for topic, (templates, slots) in _TOPICS.items()
    }
    topics = [list(made)[i % len(made)] for i in range(n)]
    return [next(made[topic]) for topic in topics], topics


def reviews(n: int, seed: int = 0) -> list[str]:
    """``n`` product reviews: another kind of text about other things.

    Raises ValueError if the templates give no ``n`` distinct ones.
    """
    made = _distinct(_REVIEWS, {**_COMMON, **_REVIEW_SLOTS}, np.random.default_rng([seed, 1]))
    return [next(made) for _ in range(n)]


def _distinct(templates: tuple[str, ...], slots: _Slots, rng: np.random.Generator) -> Iterator[str]:
    """Sentences that have not been given yet."""
    given: set[str] = set()
    misses = 0
    while misses < 1000:
        template = templates[rng.integers(len(templates))]
        text = re.sub(r"{(\w+)}", lambda m: str(rng.choice(slots[m[1]])), template)
        text = text[0].upper() + text[1:]
        if text in given:
            misses += 1
            continue
        given.add(text)
        misses = 0
        yield text
    raise ValueError(f"the templates give only {len(given)} distinct sentences")
