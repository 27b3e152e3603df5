// ConversionReview, both ways: what a conversion webhook is asked, and whether its answer can be taken, in
// kube-apiserver's words. Pure and thread-safe. Private to versions/.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"
#include "api/codec/scheme.h"

namespace sluice::registry {

// review_version: "v1" or "v1beta1". objects: JSON texts. api_version: what they shall become, such as "g.io/v2".
[[nodiscard]] std::string conversion_review(std::string_view review_version, std::string_view uid,
                                            std::string_view api_version,
                                            const std::vector<std::string>& objects);
// The objects of an answer. The webhook's own refusal is an error, too.
Result<std::vector<boost::json::value>> read_conversion_review(std::string_view review_version,
                                                               std::string_view uid,
                                                               std::string_view text);

// Whether `converted` is `original` in the version `to`. kInvalidArgument: it is of another version or kind;
// kFailedPrecondition: it is another object.
Result<void> check_converted(const boost::json::value& original, const boost::json::value& converted,
                             const codec::GroupVersionKind& to);
// Gives it the metadata of the original, with its own labels and annotations, which may have changed.
Result<void> restore_metadata(const boost::json::value& original, boost::json::value* converted);

// "stable.example.com/v1, Kind=CronTab"
[[nodiscard]] std::string shown_gvk(const codec::GroupVersionKind& gvk);

}  // namespace sluice::registry
