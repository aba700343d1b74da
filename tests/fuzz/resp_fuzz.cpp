// Feeds arbitrary bytes to the reader of a reply's strings. What it reads must be what is there,
// written as a server writes it, and must not depend on what follows.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "millpond/base/resp.hpp"

extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(
    const std::uint8_t* data, std::size_t size) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
    for (std::size_t first = 0; first < size; ++first) {
        std::size_t at = first;
        millpond::RespString found;
        if (!millpond::read_resp_string(bytes, at, found)) {
            if (at != first) {
                std::abort();
            }
            continue;
        }
        if (at <= first || at > size) {
            std::abort();
        }
        std::size_t again = 0;
        millpond::RespString same;
        const std::vector<std::byte> alone(bytes.begin() + static_cast<std::ptrdiff_t>(first),
                                           bytes.begin() + static_cast<std::ptrdiff_t>(at));
        if (!millpond::read_resp_string(alone, again, same) || again != alone.size() ||
            same.null != found.null || !std::ranges::equal(same.bytes, found.bytes)) {
            std::abort();
        }
    }
    return 0;
}
