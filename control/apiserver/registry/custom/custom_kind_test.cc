// One kind apart from any server: what it makes of bodies and of what is stored, names of definitions, and when kinds
// are freed.
#include <google/protobuf/message.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "api/codec/json.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/custom/definition_private.h"
#include "control/apiserver/registry/custom/naming_private.h"

namespace sluice::registry {
namespace {

Definition widget(const std::string& more = "") {
    Definition out;
    const auto read = codec::decode_json(
        R"({"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced",
            "names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},
            "conversion":{"strategy":"None"},
            "versions":[{"name":"v1","served":true,"storage":true,)" + more +
            R"("subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},
                "schema":{"openAPIV3Schema":{"type":"object","properties":{
                    "spec":{"type":"object","properties":{"n":{"type":"integer","default":2},
                        "s":{"type":"string"},"f":{"type":"number"},"b":{"type":"boolean"}}},
                    "status":{"type":"object","properties":{"n":{"type":"integer"}}}}}},
                "additionalPrinterColumns":[{"name":"N","type":"integer","jsonPath":".spec.n"},
                    {"name":"F","type":"number","jsonPath":".spec.f"},
                    {"name":"B","type":"boolean","jsonPath":".spec.b"},
                    {"name":"S","type":"string","jsonPath":".spec.s"},
                    {"name":"D","type":"date","jsonPath":".spec.s"}]}]},
            "status":{"storedVersions":["v1"],"acceptedNames":{"plural":"widgets","singular":"widget",
                "kind":"Widget","listKind":"WidgetList"}}})",
        &out);
    EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
    return out;
}

CustomKindPtr kind_of(const Definition& definition) {
    auto kind = CustomKind::make(definition, 0);
    EXPECT_TRUE(kind.has_value()) << (kind ? "" : kind.error().message);
    return kind ? *kind : nullptr;
}

std::unique_ptr<Message> object(const CustomKind& kind, const std::string& text) {
    auto out = kind.kind().new_object();
    EXPECT_TRUE(codec::decode_json(text, out.get()).has_value());
    return out;
}

TEST(CustomKinds, BodiesAreSettledDefaultedAndChecked) {
    const auto kind = kind_of(widget());
    auto body = object(*kind, R"({"metadata":{"name":"w"},"spec":{"x":1,"f":0.5},"y":{}})");
    std::vector<std::string> unknown;
    kind->strategy().settle_body(body.get(), &unknown);
    EXPECT_EQ(unknown, (std::vector<std::string>{R"(unknown field "spec.x")", R"(unknown field "y")"}));
    kind->strategy().set_defaults(body.get());
    EXPECT_EQ(codec::custom_members(*body), R"({"spec":{"f":0.5,"n":2}})");
    kind->strategy().prepare_for_create(body.get());
    EXPECT_EQ(codec::object_meta(*body).generation(), 1);
    const auto wrong = object(*kind, R"({"metadata":{"name":"w","namespace":"d"},"spec":{"n":-1,"s":3}})");
    FieldErrors errors;
    kind->strategy().validate(*wrong, &errors);
    EXPECT_EQ(errors.to_string(),
              R"([spec.s: Invalid value: "integer": spec.s in body must be of type string: "integer", )"
              ".spec.n: Invalid value: -1: should be a non-negative integer]");
}

TEST(CustomKinds, ColumnsAndScalesComeFromPaths) {
    const auto kind = kind_of(widget());
    const auto one = object(*kind, R"({"metadata":{"name":"w"},"spec":{"n":3,"f":1.5,"b":true,"s":"x"},"status":{"n":1}})");
    const auto cells = kind->strategy().row(*one);
    ASSERT_EQ(cells.size(), 6U);
    EXPECT_EQ(std::get<std::int64_t>(cells[1]), 3);
    EXPECT_EQ(std::get<double>(cells[2]), 1.5);
    EXPECT_TRUE(std::get<bool>(cells[3]));
    EXPECT_EQ(std::get<std::string>(cells[4]), "x");
    EXPECT_EQ(std::get<std::string>(cells[5]), "<invalid>");
    const auto view = kind->strategy().scale_of(*one);
    ASSERT_TRUE(view.has_value());
    EXPECT_EQ(view->replicas, 3);
    EXPECT_EQ(view->status_replicas, 1);
    kind->strategy().set_replicas(one.get(), 7);
    EXPECT_EQ(kind->strategy().scale_of(*one)->replicas, 7);
}

TEST(CustomKinds, GenerationsCountAllButMetadataAndStatus) {
    const auto kind = kind_of(widget());
    const auto old = object(*kind, R"({"metadata":{"generation":4},"spec":{"n":1}})");
    const auto status = object(*kind, R"({"metadata":{"generation":4},"spec":{"n":1},"status":{"n":9}})");
    kind->strategy().prepare_for_update(status.get(), *old);
    EXPECT_EQ(codec::object_meta(*status).generation(), 4);
    EXPECT_EQ(codec::custom_members(*status), R"({"spec":{"n":1}})");
    const auto spec = object(*kind, R"({"metadata":{"generation":4},"spec":{"n":2}})");
    kind->strategy().prepare_for_update(spec.get(), *old);
    EXPECT_EQ(codec::object_meta(*spec).generation(), 5);
}

TEST(CustomKinds, AreFreedWhenNobodyHoldsThem) {
    std::vector<std::string> forgotten;
    CustomKinds kinds([&](const codec::KindInfo& kind) { forgotten.push_back(kind.gvk.kind); });
    kinds.replace({kind_of(widget())});
    auto held = kinds.find("example.com", "v1", "widgets");
    ASSERT_NE(held, nullptr);
    EXPECT_TRUE(kinds.serves("example.com", "v1"));
    EXPECT_FALSE(kinds.serves("example.com", "v"));
    kinds.replace({});
    EXPECT_EQ(kinds.find("example.com", "v1", "widgets"), nullptr);
    EXPECT_TRUE(forgotten.empty());
    EXPECT_EQ(kinds.retired(), 1U);
    held.reset();
    kinds.replace({});
    EXPECT_EQ(forgotten, std::vector<std::string>{"Widget"});
    EXPECT_EQ(kinds.retired(), 0U);
}

TEST(CustomKinds, VersionsArePreferredAsInKubernetes) {
    std::vector<std::string> versions{"foo10", "v1alpha1", "v2", "v10", "v11beta2", "v3beta1", "foo1",
                                      "v1", "v12alpha1", "v11alpha2"};
    std::sort(versions.begin(), versions.end(), preferred_before);
    EXPECT_EQ(versions, (std::vector<std::string>{"v10", "v2", "v1", "v11beta2", "v3beta1", "v12alpha1",
                                                  "v11alpha2", "v1alpha1", "foo1", "foo10"}));
}

TEST(Definitions, GoodOnesPassAndNamesConflict) {
    FieldErrors errors;
    check_definition(widget(), &errors);
    EXPECT_TRUE(errors.empty()) << errors.to_string();
    Definition other = widget();
    other.mutable_status()->clear_acceptednames();
    TakenNames taken;
    taken.add(widget().status().acceptednames());
    EXPECT_TRUE(accept_names(&other, taken));
    EXPECT_FALSE(condition_holds(other, "NamesAccepted"));
    EXPECT_TRUE(accept_names(&other, {}));
    EXPECT_TRUE(condition_holds(other, "NamesAccepted"));
    EXPECT_FALSE(accept_names(&other, {}));
}

TEST(Definitions, SelectableFieldsMustBeScalarsOfTheSchema) {
    FieldErrors errors;
    check_definition(
        widget(R"("selectableFields":[{"jsonPath":".spec.s"},{"jsonPath":".spec"},{"jsonPath":".spec.none"},{"jsonPath":".spec.s"}],)"),
        &errors);
    EXPECT_EQ(errors.to_string(),
              R"([spec.versions[0].selectableFields[1].jsonPath: Invalid value: ".spec": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed., )"
              R"(spec.versions[0].selectableFields[2].jsonPath: Invalid value: ".spec.none": is an invalid path: does not refer to a valid field, )"
              R"(spec.versions[0].selectableFields[3].jsonPath: Duplicate value: ".spec.s"])");
}

}  // namespace
}  // namespace sluice::registry
