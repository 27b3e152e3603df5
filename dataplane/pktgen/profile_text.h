// Profiles as text: one table of named fields serves the command line ("--source-port 1024-2047"),
// the YAML file
// ("source-port: 1024-2047") and the dump, which is such a file.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "api/base/result.h"
#include "dataplane/pktgen/profile.h"

namespace sluice::pktgen {

enum class FieldKind : std::uint8_t { kText, kNumber, kBool };

struct ProfileField {
    std::string_view name;   // "source-port"
    std::string_view value;  // what it takes, for the help: "PORT[-PORT]"
    std::string_view help;   // a sentence without its full stop, with the unit
    FieldKind kind = FieldKind::kText;
    // kInvalidArgument says what is wrong with the text, without the field's name. Nothing is
    // changed then.
    std::function<Result<void>(Profile&, std::string_view)> set;
    // What set() takes for the value that the profile has.
    std::function<std::string(const Profile&)> get;
};

// All of profile.h's, in the order in which they are shown.
std::span<const ProfileField> profile_fields();

// kInvalidArgument: "NAME: what is wrong".
Result<void> set_profile_field(Profile& profile, std::string_view name, std::string_view text);

// A YAML mapping of fields, laid over `base`. Errors begin with "FILE:LINE: FIELD: ", FILE being
// file_name. What may be wrong between fields is check()'s.
Result<Profile> profile_from_yaml(std::string_view text, std::string_view file_name,
                                  const Profile& base = {});
// Of a file; kNotFound and its like if it cannot be read, kResourceExhausted beyond
// codec::kMaxYamlBytes.
Result<Profile> load_profile(const std::string& path, const Profile& base = {});
// All fields. profile_from_yaml() gives the same profile again.
[[nodiscard]] std::string profile_to_yaml(const Profile& profile);

// "64", "1.5k", "2M", "10G", "1e6": decimal multiples. kInvalidArgument if it is anything else,
// negative or infinite.
Result<double> parse_quantity(std::string_view text);
// The same, whole numbers only.
Result<std::uint64_t> parse_count(std::string_view text);
// "64", "imix", "64:7,594:4,1518:1".
Result<std::vector<SizeShare>> parse_sizes(std::string_view text);
[[nodiscard]] std::string sizes_text(const std::vector<SizeShare>& sizes);
// Names as the fields have them.
[[nodiscard]] std::string_view l4_name(L4 l4);
[[nodiscard]] std::string_view choice_name(Choice choice);
[[nodiscard]] std::string_view life_cycle_name(LifeCycle life_cycle);

}  // namespace sluice::pktgen
