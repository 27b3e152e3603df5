// What the kinds that make Pods from a template share: selectors, templates, replica counts, table cells.
// Pure and thread-safe.
#pragma once

#include <google/protobuf/map.h>

#include <cstdint>
#include <string>
#include <vector>

#include "control/apiserver/registry/strategies/strategy.h"

namespace k8s::io::api::core::v1 {
class PodTemplateSpec;
}
namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class LabelSelector;
}
namespace k8s::io::apimachinery::pkg::util::intstr {
class IntOrString;
}

namespace sluice::registry {

// Checks ------------------------------------------------------------------------------------------------------------

void check_not_negative(std::int64_t value, const std::string& field, FieldErrors* errors);
// A selector that is there, and well formed.
void check_selector(const codec::metav1::LabelSelector& selector, FieldErrors* errors);
// The template itself, its labels under the selector, and that its Pods always restart.
void check_replica_template(const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template,
                            const codec::metav1::LabelSelector& selector, FieldErrors* errors);
// Pods that are never started again need none of their deadline.
void check_always_restarts(const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template,
                           FieldErrors* errors);
void check_selector_unchanged(const codec::metav1::LabelSelector& selector,
                              const codec::metav1::LabelSelector& old, FieldErrors* errors);
// A count, or a percentage such as "25%".
void check_count_or_percent(const ::k8s::io::apimachinery::pkg::util::intstr::IntOrString& value,
                            const std::string& field, FieldErrors* errors);
// A percentage above 100.
void check_at_most_all(const ::k8s::io::apimachinery::pkg::util::intstr::IntOrString& value,
                       const std::string& field, FieldErrors* errors);
// 0 or "0%".
[[nodiscard]] bool is_none(const ::k8s::io::apimachinery::pkg::util::intstr::IntOrString& value);

// As Go's %#v writes them, for errors.
[[nodiscard]] BadValue go_label_map(
    const google::protobuf::Map<std::string, std::string>& labels);
[[nodiscard]] BadValue go_selector(const codec::metav1::LabelSelector& selector);

// Values ------------------------------------------------------------------------------------------------------------

void set_count(::k8s::io::apimachinery::pkg::util::intstr::IntOrString* value, std::int32_t count);
void set_percent(::k8s::io::apimachinery::pkg::util::intstr::IntOrString* value,
                 const std::string& percent);
// As a query writes it; "" for one that selects nothing or cannot be read.
[[nodiscard]] std::string selector_text(const codec::metav1::LabelSelector& selector);
// As kubectl shows it: "<none>" when it selects nothing.
[[nodiscard]] std::string selector_cell(const codec::metav1::LabelSelector& selector);
// The names and the images of the template's containers, joined by commas.
[[nodiscard]] std::string container_names(
    const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template);
[[nodiscard]] std::string container_images(
    const ::k8s::io::api::core::v1::PodTemplateSpec& pod_template);

}  // namespace sluice::registry
