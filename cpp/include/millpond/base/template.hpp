// A template over the arguments of a function, such as "user:{user_id}": the tags of a cached call,
// the key of a limiter. It is parsed once, when the function is decorated, so that a misspelt name
// fails there and not at a call.
//
//     "user:{user_id}"       the argument's text in place of the braces
//     "{{literal braces}}"   doubled braces stand for themselves
//
// Between braces stands the name of an argument and nothing else: no attributes, no indexes, no
// conversions, no format. What those would compute can differ from call to call, and can run code.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millpond {

// Immutable after parse(), so any thread may read it.
class Template {
  public:
    // `literal`, then the text of the argument with this index.
    struct Piece {
        std::string literal;
        std::size_t argument = 0;
    };

    // Parses `source` over the argument names, in the order of the signature. Throws
    // Error{InvalidArgument} that quotes the template, says what is wrong and lists the names.
    // O(length x arguments). REQUIRES: UTF-8.
    [[nodiscard]] static Template parse(std::string_view source,
                                        std::span<const std::string> arguments);

    // The template as it was written.
    [[nodiscard]] const std::string& source() const noexcept { return source_; }
    // The parts with an argument, in order. Empty for plain text, which needs no argument at all.
    [[nodiscard]] std::span<const Piece> pieces() const noexcept { return pieces_; }
    // The text after the last argument.
    [[nodiscard]] const std::string& tail() const noexcept { return tail_; }

    // The text with `values[i]` for pieces()[i]. One allocation. REQUIRES: one value a piece.
    [[nodiscard]] std::string render(std::span<const std::string_view> values) const;

  private:
    std::string source_;
    std::vector<Piece> pieces_;
    std::string tail_;
};

}  // namespace millpond
