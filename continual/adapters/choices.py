"""What a search at the end of a task may choose among, and how it looks.

A pick is one alternative of every choice at one weight, by number: (0, 3) takes the first
alternative of the first choice and the fourth of the second.
"""

from collections.abc import Callable
from dataclasses import dataclass

from continual.adapters.checks import check_count, check_positive
from continual.errors import InputError

Pick = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The choices at one weight.

    Attributes:
        sizes: how many alternatives each choice has.
        now: the pick in use.
        numbers: how many trained numbers a pick uses.
        take: uses another pick from now on.
    """

    sizes: Pick
    now: Pick
    numbers: Callable[[Pick], int]
    take: Callable[[Pick], None]


@dataclass(frozen=True, kw_only=True)
class Search:
    """How an evolutionary search looks; see ``continual.training.search``.

    Attributes:
        population: candidates per generation, at least 2.
        generations: of mutations and crossovers after the first, random one.
        mutation: probability in (0, 1] that a mutation changes a choice.
        limit: most trained numbers that all picks together may use; None: any.
    """

    population: int = 20
    generations: int = 5
    mutation: float = 0.2
    limit: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("population", self.population, least=2)
        check_count("generations", self.generations)
        check_positive("mutation", self.mutation)
        if self.mutation > 1:
            raise InputError(f"mutation is a probability, at most 1; got {self.mutation!r}.")
        if self.limit is not None:
            check_count("limit", self.limit)

    @property
    def is_default(self) -> bool:
        """Whether it looks as it does where nothing is set."""
        default = (Search.population, Search.generations, Search.mutation, Search.limit)
        return (self.population, self.generations, self.mutation, self.limit) == default
