fn _a(){}
