// Domain names. A Name is absolute and always valid: labels of 1 to 63 bytes, 255 bytes in all. It
// keeps the case it was given; comparing and searching ignore the case of ASCII letters, as RFC
// 4343 wants.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "control/dns/types.h"

namespace sluice::dns {

class Name {
public:
    Name() : wire_(1, '\0') {}  // the root
    // "a.b.c" or "a.b.c."; every byte but the dot stands for itself.
    static Result<Name> parse(std::string_view text);
    // REQUIRES: wire is a valid uncompressed name, its root byte included.
    static Name from_wire(std::string wire);
    // labels, then suffix. kInvalidArgument for a bad label or a name that becomes too long.
    static Result<Name> join(std::initializer_list<std::string_view> labels, const Name& suffix);

    // Length-prefixed labels with the root's zero byte, as in an uncompressed message.
    [[nodiscard]] const std::string& wire() const { return wire_; }
    [[nodiscard]] bool is_root() const { return wire_.size() == 1; }
    // From the leftmost one, without the root; valid as long as this name.
    [[nodiscard]] std::vector<std::string_view> labels() const;
    [[nodiscard]] Name lower() const;
    // Whether this name is suffix or below it.
    [[nodiscard]] bool is_within(const Name& suffix) const;
    [[nodiscard]] bool equals(const Name& other) const;
    // "a.b.c."; bytes that are no printable ASCII, dots within labels and backslashes are escaped
    // (\DDD).
    [[nodiscard]] std::string to_string() const;

private:
    std::string wire_;
};

[[nodiscard]] constexpr char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
[[nodiscard]] std::string to_lower(std::string_view text);
[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b);

// Whether text can be one label of a name that Kubernetes made: letters, digits, '-' and '_', 1 to
// 63 of them.
[[nodiscard]] bool is_plain_label(std::string_view text);

}  // namespace sluice::dns
