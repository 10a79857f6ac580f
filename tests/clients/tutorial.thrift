namespace cpp predictor_service
service Predictor { map<string,double> predict(1: string doc) }
