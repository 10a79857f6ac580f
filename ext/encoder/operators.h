// What exported encoders call that libtorch has not (scripts/export_encoder.py).
#pragma once

namespace predictor {

// Makes predictor::attention and predictor::int8_products known to libtorch. Once a process is enough, and more does no
// harm.
void register_operators();

}  // namespace predictor
