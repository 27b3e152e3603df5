// What schemas do to values: pruning, defaults, validation. All of it pure; thread-safe. Private to custom/.
//
// Values are trees of at most codec::kMaxJsonDepth levels, which every parsed one is; recursion here follows them.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/base/result.h"
#include "control/apiserver/registry/custom/schema_private.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

// Takes away what the schema does not know and does not preserve. is_root: the value is a whole object, whose kind,
// apiVersion and metadata stay whatever the schema says. unknown: if given, paths of what was taken away, sorted.
void prune(boost::json::value* value, const Schema& schema, bool is_root,
           std::vector<std::string>* unknown);
// Fills in the schema's defaults; first a null that is not allowed goes, where there is no default for it.
void set_defaults(boost::json::value* value, const Schema& schema);
// The metadata of objects within objects (x-kubernetes-embedded-resource) as Kubernetes knows it; what it does not
// know goes, and is named in *unknown if given. Metadata that cannot be read stays as it is, for check_value to name.
void coerce_embedded(boost::json::value* value, const Schema& schema,
                     std::vector<std::string>* unknown);

// Whether the value is as the schema says, in the words of Kubernetes. old: null at creation; parts that did not change
// are not looked at again (ratcheting), so that a stricter schema does not lock objects that are there.
void check_value(const boost::json::value& value, const boost::json::value* old,
                 const Schema& schema, const std::string& path, FieldErrors* errors);
// Lists that are maps or sets have no element twice, and embedded objects are objects of Kubernetes.
void check_lists(const boost::json::value& value, const Schema& schema, const std::string& path,
                 FieldErrors* errors);
void check_embedded(const boost::json::value& value, const Schema& schema, bool is_root,
                    const std::string& path, FieldErrors* errors);

// The elements of an old list by what identifies them, where its type is map: only those can be told again. Both
// outlive it.
class OldItems {
public:
    // old: null or no list: there are none.
    OldItems(const Schema& list, const boost::json::value* old);
    // Null: there was no such element.
    [[nodiscard]] const boost::json::value* find(const boost::json::value& item) const;

private:
    const Schema& list_;
    std::unordered_map<std::string, const boost::json::value*> items_;
};

// Numbers are equal by value, objects whatever the order of their members.
[[nodiscard]] bool equal_values(const boost::json::value& a, const boost::json::value& b);
// A value as an error shows it.
[[nodiscard]] BadValue shown_value(const boost::json::value& value);

// Whether the text has the format; formats that nobody knows fit every text.
[[nodiscard]] bool has_format(std::string_view format, std::string_view text);
[[nodiscard]] bool is_known_format(std::string_view format);

}  // namespace sluice::registry
