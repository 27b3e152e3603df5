// The syntax of names and paths that the kinds of networking, admission and flow control share, in Kubernetes' words.
// Pure and thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

// "*.example.com".
std::vector<std::string> check_wildcard_subdomain(std::string_view name);
// "example.com/path"; empty is an error.
void check_domain_prefixed_path(const std::string& text, const std::string& field,
                                FieldErrors* errors);
// A domain of three segments at least, such as check.example.com.
void check_fully_qualified_name(const std::string& text, const std::string& field,
                                FieldErrors* errors);
// The name of a CSI driver: 63 characters at most; capitals are permitted.
void check_csi_driver_name(const std::string& text, const std::string& field, FieldErrors* errors);
// The URL of a webhook: https with a host, and neither user, query nor fragment.
void check_webhook_url(const std::string& url, const std::string& field, FieldErrors* errors);
// A path at a webhook's service.
void check_service_path(const std::string& path, const std::string& field, FieldErrors* errors);

[[nodiscard]] std::string ascii_lower(std::string_view text);

}  // namespace sluice::registry
