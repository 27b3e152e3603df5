// Random API objects for the walks: few names and addresses, so that they meet and conflict often.
#pragma once

#include <map>
#include <random>
#include <string>
#include <vector>

#include "agent/compile/state.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::walks {

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

// What the API server would hold.
struct Objects {
    std::map<std::string, corev1::Service> services;  // by namespace/name
    std::map<std::string, discoveryv1::EndpointSlice> slices;
    std::string zone;
};

class Maker {
public:
    explicit Maker(std::uint64_t seed) : random_(seed) {}

    int below(int bound) { return static_cast<int>(random_() % static_cast<unsigned>(bound)); }
    bool one_in(int bound) { return below(bound) == 0; }
    // One change, made to the objects and told to the state.
    void change(Objects& objects, compile::State& state);
    // The same objects, told in another order.
    void tell_all(const Objects& objects, compile::State& state);

    std::mt19937_64& random() { return random_; }

private:
    corev1::Service service(int number);
    discoveryv1::EndpointSlice slice(int number);
    void add_external(corev1::ServiceSpec& spec, corev1::Service& out);

    std::mt19937_64 random_;
};

}  // namespace sluice::walks
