#include "millpond/base/breaker.hpp"

#include <algorithm>

#include "millpond/base/hash.hpp"

namespace millpond {

bool Breaker::record(CallResult result, std::uint32_t epoch, Instant now) noexcept {
    if (epoch != epoch_ || state_ != BreakerState::Closed || result == CallResult::Void) {
        return false;
    }
    turn(now);
    const bool bad = result != CallResult::Good;
    Tally& tally = window_[static_cast<std::size_t>(bucket_) % kBuckets];
    ++tally.calls;
    ++sum_.calls;
    tally.bad += bad ? 1 : 0;
    sum_.bad += bad ? 1 : 0;
    // A slow call ends no row of failures, and is none.
    in_a_row_ = result == CallResult::Failed ? in_a_row_ + 1
                : result == CallResult::Good ? 0
                                             : in_a_row_;
    const bool too_many = sum_.calls >= options_.least_calls &&
                          sum_.bad >= options_.bad_share * static_cast<double>(sum_.calls);
    if (!bad || !(too_many || in_a_row_ >= options_.failures_in_a_row)) {
        return false;
    }
    if (wait_ != Nanos{0} && now - closed_at_ >= options_.steady) {
        wait_ = Nanos{0};
    }
    open(now);
    return true;
}

// Lets what is older than the window fall out of it.
void Breaker::turn(Instant now) noexcept {
    const std::int64_t bucket = now.time_since_epoch() / options_.bucket;
    if (bucket - bucket_ >= static_cast<std::int64_t>(kBuckets)) {
        window_.fill({});
        sum_ = {};
        bucket_ = bucket;
    }
    while (bucket_ < bucket) {
        Tally& oldest = window_[static_cast<std::size_t>(++bucket_) % kBuckets];
        sum_.calls -= oldest.calls;
        sum_.bad -= oldest.bad;
        oldest = {};
    }
}

void Breaker::forget() noexcept {
    window_.fill({});
    sum_ = {};
    in_a_row_ = 0;
    good_probes_ = 0;
    probing_ = false;
}

void Breaker::open(Instant now) noexcept {
    forget();
    ++epoch_;
    state_ = BreakerState::Open;
    next_probe_ = after(now, next_wait());
}

Nanos Breaker::next_wait() noexcept {
    wait_ = wait_ == Nanos{0} ? options_.first_wait : wait_ * 2;
    wait_ = std::min(wait_, options_.longest_wait);
    random_ = mix64(random_ + 0x9e3779b97f4a7c15ULL);
    const double share = static_cast<double>(random_ >> 11) * 0x1p-53;
    const double shortened = static_cast<double>(wait_.count()) * options_.jitter * share;
    return wait_ - Nanos{static_cast<Nanos::rep>(shortened)};
}

std::optional<std::uint32_t> Breaker::begin_probe(Instant now) noexcept {
    if (now < next_probe_) {
        return std::nullopt;
    }
    if (probing_) {
        good_probes_ = 0;  // The last one was lost.
    }
    probing_ = true;
    state_ = BreakerState::HalfOpen;
    next_probe_ = after(now, options_.probe_lease);
    return ++epoch_;
}

bool Breaker::end_probe(CallResult result, std::uint32_t epoch, Instant now) noexcept {
    if (epoch != epoch_ || state_ != BreakerState::HalfOpen) {
        return false;
    }
    probing_ = false;
    if (result != CallResult::Good) {
        open(now);
        return false;
    }
    if (++good_probes_ < options_.good_probes) {
        next_probe_ = now;
        return false;
    }
    forget();
    ++epoch_;
    state_ = BreakerState::Closed;
    next_probe_ = kNever;
    closed_at_ = now;
    return true;
}

void Breaker::forked(std::uint64_t seed, Instant now) noexcept {
    random_ ^= mix64(seed);
    if (state_ != BreakerState::Closed) {
        ++epoch_;
        state_ = BreakerState::Open;
        good_probes_ = 0;
        probing_ = false;
        next_probe_ = std::min(next_probe_, now);
    }
}

}  // namespace millpond
