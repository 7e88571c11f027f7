from crmlab.satisfaction.ordered import OrderedFit, fit_ordered, proportional_odds_test
