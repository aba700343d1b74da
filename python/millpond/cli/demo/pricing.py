"""What a call costs: token usage times the prices that genai-prices bundles, offline."""

from __future__ import annotations

from millpond.cli.demo.answer import TokenUsage


class Pricer:
    """Prices the calls of one model.

    Args:
        model: The model's name as the API knows it.
        api_url: The address that is called; None takes OpenAI's list prices.
    """

    def __init__(self, model: str, *, api_url: str | None = None) -> None:
        self._model = model
        self._api_url = api_url
        # The package unpacks its data on first use; better here than in somebody's first call.
        self.known = self.dollars(TokenUsage(prompt_tokens=1, completion_tokens=1)) is not None

    def dollars(self, usage: TokenUsage) -> float | None:
        """Return the price in dollars, or None where the package does not know the model."""
        from genai_prices import Usage, calc_price

        counts = Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cache_read_tokens=usage.cached_tokens,
        )
        try:
            if self._api_url is None:
                price = calc_price(counts, self._model, provider_id="openai")
            else:
                price = calc_price(counts, self._model, provider_api_url=self._api_url)
        except LookupError:
            return None
        return float(price.total_price)
