#include "millpond/base/template.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

[[noreturn]] void fail(std::string_view source, const std::string& problem) {
    throw Error(ErrorCode::InvalidArgument, fmt::format("template \"{}\": {}", source, problem));
}

[[nodiscard]] std::string allowed(std::span<const std::string> arguments) {
    return arguments.empty() ? "the function has no named arguments"
                             : fmt::format("allowed are {}", fmt::join(arguments, ", "));
}

// What `name`, which is no argument's, was meant as.
[[nodiscard]] std::string explain(std::string_view name, std::span<const std::string> arguments) {
    if (name.empty()) {
        return fmt::format("\"{{}}\" names no argument; {}", allowed(arguments));
    }
    const std::size_t end = name.find_first_of(".[!:");
    if (end == std::string_view::npos) {
        return fmt::format("no argument is named \"{}\"; {}", name, allowed(arguments));
    }
    const char* part = name[end] == '.'   ? "an attribute"
                       : name[end] == '[' ? "an index"
                       : name[end] == '!' ? "a conversion"
                                          : "a format";
    return fmt::format("\"{}\" asks for {}, and only names of arguments stand in braces; {}", name,
                       part, allowed(arguments));
}

[[nodiscard]] std::size_t index_of(std::string_view source, std::string_view name,
                                   std::span<const std::string> arguments) {
    const auto found = std::ranges::find(arguments, name);
    if (found == arguments.end()) {
        fail(source, explain(name, arguments));
    }
    return static_cast<std::size_t>(found - arguments.begin());
}

}  // namespace

Template Template::parse(std::string_view source, std::span<const std::string> arguments) {
    Template parsed;
    parsed.source_ = source;
    std::string literal;
    std::size_t at = 0;
    while (at < source.size()) {
        const char here = source[at];
        const bool doubled = at + 1 < source.size() && source[at + 1] == here;
        if ((here == '{' || here == '}') && doubled) {
            literal += here;
            at += 2;
        } else if (here == '{') {
            const std::size_t end = source.find_first_of("{}", at + 1);
            if (end == std::string_view::npos || source[end] == '{') {
                fail(source,
                     fmt::format("the \"{{\" at byte {} is not closed; write \"{{{{\" for a "
                                 "brace",
                                 at));
            }
            const std::string_view name = source.substr(at + 1, end - at - 1);
            parsed.pieces_.push_back(
                {std::exchange(literal, {}), index_of(source, name, arguments)});
            at = end + 1;
        } else if (here == '}') {
            fail(source, fmt::format("the \"}}\" at byte {} closes nothing; write \"}}}}\" for a "
                                     "brace",
                                     at));
        } else {
            literal += here;
            ++at;
        }
    }
    parsed.tail_ = std::move(literal);
    return parsed;
}

std::string Template::render(std::span<const std::string_view> values) const {
    assert(values.size() == pieces_.size());
    std::size_t size = tail_.size();
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        size += pieces_[i].literal.size() + values[i].size();
    }
    std::string text;
    text.reserve(size);
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        text.append(pieces_[i].literal).append(values[i]);
    }
    return text.append(tail_);
}

}  // namespace millpond
