// Requests as webhooks and expressions see them: objects in the version that a rule names, and what AdmissionReview
// says besides. Pure but for the conversion of objects.
#pragma once

#include <string>

#include "control/apiserver/registry/rest/admission.h"

namespace sluice::admission {

// An object as JSON in the version that is seen; "null" for none. 500: it cannot be converted, as the webhook
// that has to do so failed.
[[nodiscard]] registry::Answer<std::string> seen_json(const registry::AdmissionRequest& request,
                                                      const codec::KindInfo& seen, const registry::Message* object);
// The same of the request's object, which a connection has, too: what the client asks of it.
[[nodiscard]] registry::Answer<std::string> seen_object(const registry::AdmissionRequest& request,
                                                        const codec::KindInfo& seen);
// What seen_json is of: the kind of the resource, or of what was sent in its place.
[[nodiscard]] const codec::GroupVersionKind& seen_gvk(const registry::AdmissionRequest& request,
                                                      const codec::KindInfo& seen);
// The members of an AdmissionRequest besides uid, object and oldObject, without braces.
[[nodiscard]] std::string request_members(const registry::AdmissionRequest& request, const codec::KindInfo& seen);
// Of what a request is said to be in: a Namespace is in itself.
[[nodiscard]] std::string_view seen_namespace(const registry::AdmissionRequest& request);

}  // namespace sluice::admission
